// Does schema.prisma describe the database that the migrations made?
//
//   npm run drift [-- other.prisma]         exit code 0: yes; 2: no, with what differs; 1: cannot tell
//
// The server is named by DATABASE_URL or by libpq's variables (PGHOST, ...). The role has to see every
// column: case_backup does. Prisma's own command line cannot do this without a downloaded engine; the
// same engine comes from npm as WebAssembly.
import { readFileSync } from 'node:fs'

import pg from 'pg'

import { comparable, enumColumns, enumDifferences } from './drift-enums.ts'
import { schemaEngine } from './drift-engine.ts'

// A column that the role may not read is missing from information_schema: it would look dropped.
const HIDDEN = `
  SELECT format('%s.%s', c.relname, a.attname) AS name
  FROM pg_catalog.pg_attribute AS a
  JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
  WHERE c.relnamespace = to_regnamespace('public') AND a.attnum > 0 AND NOT a.attisdropped
    AND NOT EXISTS (
        SELECT FROM information_schema.columns AS i
        WHERE i.table_schema = 'public' AND i.table_name = c.relname AND i.column_name = a.attname
    )
  ORDER BY 1`

async function main(): Promise<number> {
  const path = process.argv[2] ?? 'schema.prisma'
  const schema = readFileSync(path, 'utf8')
  // Without DATABASE_URL the libpq variables count.
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL || undefined, max: 2 })
  try {
    const hidden = await pool.query<{ name: string }>(HIDDEN)
    if (hidden.rows.length > 0) {
      const names = hidden.rows.map((row) => row.name).join(', ')
      console.error(`this role cannot see all columns (${names}); compare as case_backup`)
      return 1
    }
    const files = [{ path: 'schema.prisma', content: comparable(schema) }]
    const engine = await schemaEngine(pool, files)
    const diff = await engine.diff({
      from: { tag: 'schemaDatasource', files, configDir: '/' },
      to: { tag: 'schemaDatamodel', files },
      script: false,
      exitCode: true,
      filters: { externalTables: [], externalEnums: [] },
    })
    const found = [
      ...(diff.exitCode === 0 ? [] : [(diff.stdout ?? '').trim()]),
      ...(await enumDifferences(pool, enumColumns(schema))),
    ]
    console.log(found.length === 0 ? 'No difference detected.' : found.join('\n'))
    return found.length === 0 ? 0 : 2
  } finally {
    await pool.end()
  }
}

main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    // What the engine panicked about was printed already; a panic may leave its promise pending.
    process.exit(1)
  },
)
