// Prisma's enums against the database's domains, which the engine knows as mere text.
//
// An enum of the schema is a domain over text in the database, and the values that a column may have
// are in a check constraint of its table. The engine compares the columns as text; what it cannot see,
// the domain and the values, is compared here.
import pg from 'pg'

export type EnumColumn = {
  enum: string
  domain: string
  values: string[]
  table: string
  column: string
}

/** The schema as the engine has to see it so that equal things look equal. */
export function comparable(schema: string): string {
  let text = schema
  for (const { name } of blocks(schema, 'enum')) {
    text = text.replace(new RegExp(`^(\\s+\\w+\\s+)${name}\\b(.*)$`, 'gm'), (_, head, rest) => {
      return `${head}String${rest.replace(/@default\((\w+)\)/, '@default("$1")')}`
    })
  }
  return (
    text
      .replace(/^enum \w+ \{.*?^\}$/gms, '')
      // The same default; written out, it is the server's clock that counts and not the client's.
      .replaceAll('dbgenerated("now()")', 'now()')
  )
}

/** Every column of the schema that holds an enum. */
export function enumColumns(schema: string): EnumColumn[] {
  const enums = new Map(
    blocks(schema, 'enum').map(({ name, body }) => {
      const values = [...body.matchAll(/^\s+(\w+)\s*$/gm)].map((match) => match[1]!)
      return [name, { domain: mapped(body, '@@map') ?? name, values: values.sort() }]
    }),
  )
  return blocks(schema, 'model').flatMap(({ name, body }) =>
    [...body.matchAll(/^\s+(\w+)\s+(\w+)\??([^\n]*)$/gm)].flatMap(([, field, type, rest]) => {
      const found = enums.get(type!)
      if (!found) return []
      const table = mapped(body, '@@map') ?? name
      return [{ enum: type!, ...found, table, column: mapped(rest!, '@map') ?? field! }]
    }),
  )
}

// Of the checks on this one column, the words in them.
const COLUMN = `
  SELECT t.typname AS type, t.typtype AS kind,
      ARRAY(
          SELECT DISTINCT word[1]
          FROM pg_catalog.pg_constraint AS k
          CROSS JOIN LATERAL regexp_matches(pg_get_constraintdef(k.oid), '''(\\w+)''', 'g') AS word
          WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
          ORDER BY 1
      ) AS values
  FROM pg_catalog.pg_attribute AS a
  JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
  WHERE a.attrelid = to_regclass(format('public.%I', $1::text)) AND a.attname = $2::text
    AND NOT a.attisdropped`

/** What the database has otherwise than the schema, a line each. */
export async function enumDifferences(pool: pg.Pool, columns: EnumColumn[]): Promise<string[]> {
  const found: string[] = []
  for (const wanted of columns) {
    const place = `${wanted.table}.${wanted.column}`
    type Row = { type: string; kind: string; values: string[] }
    const { rows } = await pool.query<Row>(COLUMN, [wanted.table, wanted.column])
    const row = rows[0]
    // A missing column is the engine's to report.
    if (!row) continue
    if (row.kind !== 'd' || row.type !== wanted.domain) {
      found.push(`[*] ${place} is of type ${row.type}, ${wanted.enum} is the domain ${wanted.domain}`)
    }
    const values = [...row.values].sort()
    if (values.join() !== wanted.values.join()) {
      const allowed = values.join(', ') || 'anything'
      found.push(`[*] ${place} may be ${allowed}; ${wanted.enum} has ${wanted.values.join(', ')}`)
    }
  }
  return found
}

function blocks(schema: string, kind: string): { name: string; body: string }[] {
  const withoutComments = schema.replace(/^\s*\/\/.*$/gm, '')
  const pattern = new RegExp(`^${kind} (\\w+) \\{(.*?)^\\}`, 'gms')
  return [...withoutComments.matchAll(pattern)].map(([, name, body]) => ({ name: name!, body: body! }))
}

function mapped(text: string, attribute: '@map' | '@@map'): string | undefined {
  return text.match(new RegExp(`(?<!@)${attribute}\\("(\\w+)"\\)`))?.[1]
}
