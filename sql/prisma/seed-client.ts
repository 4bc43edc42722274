// How the seed script gets its client: as the role that writes for all users, and only where everybody
// may know the password.
import type { Client } from './client.ts'
import { createClient } from './client.ts'

// The database's own setting, as `casedb mark` writes it, and not the session's, which anybody can set.
async function mark(client: Client): Promise<string | undefined> {
  const [found] = await client.$queryRaw<{ mark: string }[]>`
    SELECT split_part(setting, '=', 2) AS mark
    FROM pg_catalog.pg_db_role_setting AS s
    JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase AND d.datname = current_database()
    CROSS JOIN LATERAL unnest(s.setconfig) AS setting
    WHERE s.setrole = 0 AND setting LIKE 'casedb.mark=%'`
  return found?.mark
}

/** A client for DATABASE_URL, else for libpq's variables; refused unless it is for development. */
export async function seedingClient(): Promise<Client> {
  const client = createClient({ connectionString: process.env.DATABASE_URL || undefined })
  try {
    const found = await mark(client)
    if (found !== 'development') {
      const marked = found ? `marked ${found}` : 'not marked, which counts as production'
      throw new Error(`no sample data with its public password here: this database is ${marked}`)
    }
  } catch (error) {
    await client.$disconnect()
    throw error
  }
  return client
}
