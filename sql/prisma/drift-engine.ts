// Prisma's schema engine as WebAssembly, on a pool of node-postgres connections.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { PrismaPg } from '@prisma/adapter-pg'
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } from '@prisma/driver-adapter-utils'
import * as glue from '@prisma/schema-engine-wasm/schema_engine_bg'
import pg from 'pg'

export type SchemaFile = { path: string; content: string }

/** The engine, connected through `pool`, which stays the caller's to close. */
export async function schemaEngine(pool: pg.Pool, files: SchemaFile[]): Promise<glue.SchemaEngine> {
  await load()
  const datamodels = files.map((file): [string, string] => [file.path, file.content])
  const adapter = bindMigrationAwareSqlAdapterFactory(new CatalogAdapter(pool))
  return await glue.SchemaEngine.new({ datamodels }, () => {}, adapter)
}

async function load(): Promise<void> {
  // The package's own entry imports the .wasm file as a module, which Node 20 cannot.
  const entry = import.meta.resolve('@prisma/schema-engine-wasm/schema_engine_bg')
  const file = fileURLToPath(new URL('schema_engine_bg.wasm', entry))
  const { instance } = await WebAssembly.instantiate(readFileSync(file), {
    './schema_engine_bg.js': glue as unknown as WebAssembly.ModuleImports,
  })
  Object.assign(globalThis, {
    // Where the engine leaves the message of a panic; without it the panic itself would fail.
    PRISMA_WASM_PANIC_REGISTRY: { set_message: (message: string) => console.error(message) },
  })
  const { __wbg_set_wasm } = glue as unknown as { __wbg_set_wasm: (exports: unknown) => void }
  __wbg_set_wasm(instance.exports)
  ;(instance.exports.__wbindgen_start as () => void)()
}

const CHAR_OID = 18
const TEXT_OID = 25

type Result = { rows: unknown[]; fields: { name: string; dataTypeID: number }[] }
type Internals = {
  performIO(query: unknown): Promise<Result>
  queryRaw(query: unknown): Promise<{ rows: unknown[]; columnTypes: number[] }>
}

/** The adapter for pg, which on its own refuses the catalog's one-letter type "char". */
class CatalogAdapter extends PrismaPg {
  override async connect() {
    const adapter = await super.connect()
    const inner = adapter as unknown as Internals
    const performIO = inner.performIO.bind(adapter)
    const queryRaw = inner.queryRaw.bind(adapter)
    const letters = new WeakMap<unknown[], boolean[]>()
    inner.performIO = async (query) => {
      const result = await performIO(query)
      letters.set(result.rows, result.fields.map((field) => field.dataTypeID === CHAR_OID))
      for (const field of result.fields) {
        if (field.dataTypeID === CHAR_OID) field.dataTypeID = TEXT_OID
      }
      return result
    }
    inner.queryRaw = async (query) => {
      const result = await queryRaw(query)
      const isLetter = letters.get(result.rows) ?? []
      const columnTypes = result.columnTypes.map((type, i) =>
        isLetter[i] ? ColumnTypeEnum.Character : type,
      )
      return { ...result, columnTypes }
    }
    return adapter
  }
}
