import { fileURLToPath } from 'node:url'

import { defineConfig } from 'prisma/config'

// The command line wants a schema engine even where it needs none, and downloads it. With this one,
// `prisma generate`, `validate` and `format` work offline, and what would need the real one (migrate,
// db push, db pull) fails with a reason. With /bin/true it would do nothing and return 0.
process.env.PRISMA_SCHEMA_ENGINE_BINARY ??= fileURLToPath(new URL('no-engine', import.meta.url))

export default defineConfig({
  schema: 'schema.prisma',
  datasource: { url: process.env.DATABASE_URL ?? '' },
})
