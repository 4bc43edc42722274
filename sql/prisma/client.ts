// The back end's way into the database: one client, one transaction a user, errors with their hint.
// docs/backend.md says how to use it; copy it or import it.
import { PrismaPg } from '@prisma/adapter-pg'
import { Prisma, PrismaClient } from '@prisma/client'
import type { PoolConfig } from 'pg'

/** The client, with one pool of connections: make one a process. */
export function createClient(pool: PoolConfig) {
  const adapter = new PrismaPg({
    // The adapter takes the server's times for UTC whatever offset they carry.
    options: '-c TimeZone=UTC -c statement_timeout=30s',
    // Give up instead of queueing for ever when every connection is taken.
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    ...pool,
  })
  return new PrismaClient({
    adapter,
    // No role of the application may read the column; without this every `user` query would fail.
    omit: { user: { password: true } },
    transactionOptions: { maxWait: 5_000, timeout: 10_000 },
  })
}

export type Client = ReturnType<typeof createClient>

/** What `work` gets: the client inside one transaction. */
export type Transaction = Omit<
  Client,
  '$connect' | '$disconnect' | '$on' | '$use' | '$extends' | '$transaction'
>

export type TransactionOptions = {
  isolationLevel?: Prisma.TransactionIsolationLevel
  maxWait?: number
  timeout?: number
}

/** Run `work` as one user: it sees and changes what that user may, and all of it or nothing. */
export async function asUser<T>(
  client: Client,
  userId: string,
  work: (tx: Transaction) => Promise<T>,
  options?: TransactionOptions,
): Promise<T> {
  return await client.$transaction(async (tx) => {
    await tx.$queryRaw`SELECT public.act_as(${userId})`
    return await work(tx)
  }, options)
}

/** The claims of a JWT whose signature has been verified. */
export type Claims = { sub: string; role?: string; exp?: number }

/** As asUser(), for the user of a verified token; refused when the token's role is no longer his. */
export async function asClaims<T>(
  client: Client,
  claims: Claims,
  work: (tx: Transaction) => Promise<T>,
  options?: TransactionOptions,
): Promise<T> {
  return await client.$transaction(async (tx) => {
    await tx.$queryRaw`SELECT public.act_as_claims(${JSON.stringify(claims)}::jsonb)`
    return await work(tx)
  }, options)
}

/** What PostgreSQL said when it refused. */
export type Refusal = {
  /** Prisma's code, such as P2002. */
  code: string
  /** PostgreSQL's, such as 23505; undefined where Prisma itself refused. */
  sqlstate?: string
  message: string
  detail?: string
  hint?: string
}

/** PostgreSQL's words behind a Prisma error; undefined for every other kind of error. */
export function refusal(error: unknown): Refusal | undefined {
  if (!(error instanceof Prisma.PrismaClientKnownRequestError)) return undefined
  // Of queries in meta.driverAdapterError, of $queryRaw in meta.driverAdapterError too.
  const meta = error.meta as { driverAdapterError?: { cause?: Record<string, unknown> } } | undefined
  const cause = meta?.driverAdapterError?.cause
  const text = (key: string) => {
    const value = cause?.[key]
    return typeof value === 'string' ? value : undefined
  }
  return {
    code: error.code,
    sqlstate: text('originalCode'),
    message: text('originalMessage') ?? error.message.trim().split('\n').at(-1)!,
    detail: text('detail'),
    hint: text('hint'),
  }
}

/** Where a page of cases ended: its last row. */
export type PageEnd = { createdAt: Date; id: string }

/**
 * The cases after `last`, for orderBy [{ createdAt: 'desc' }, { id: 'desc' }].
 *
 * Prisma's own `cursor` reads and throws away everything before it; so does OFFSET. This starts in the
 * index: the first condition is the one that the planner can seek with, the second one tells cases of
 * the same millisecond apart.
 */
export function after(last?: PageEnd): Prisma.CaseWhereInput {
  if (!last) return {}
  return {
    createdAt: { lte: last.createdAt },
    OR: [{ createdAt: { lt: last.createdAt } }, { id: { lt: last.id } }],
  }
}
