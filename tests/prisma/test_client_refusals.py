"""What the database refuses arrives in words, and leaves the pool as it was."""

from casedb.database import connect
from tests.prisma.conftest import BackEnd


def test_what_postgresql_says_arrives_with_its_hint(back_end: BackEnd) -> None:
    found = back_end("""
        const data = { title: 'A', description: '', createdBy: clerk }
        const as = (user: string, work: (tx: any) => Promise<unknown>) =>
          refused(asUser(app, user, work))
        return {
          trigger: await as(clerk, (tx) =>
            tx.case.update({ where: { id: sample }, data: { status: 'COMPLETED' } })),
          check: await as(clerk, (tx) => tx.case.create({ data: { ...data, title: ' ' } })),
          policy: await as(clerk, (tx) => tx.case.create({ data: { ...data, createdBy: chair } })),
          grant: await as(clerk, (tx) => tx.case.delete({ where: { id: sample } })),
          log: await as(clerk, (tx) =>
            tx.case_Log.create({ data: { caseId: sample, userId: clerk, action: 'lied' } })),
          hidden: await as(caseworker, (tx) =>
            tx.case.update({ where: { id: sample }, data: { description: '' } })),
          unique: await as(clerk, async (tx) => {
            const data = { caseId: sample, filename: 'f', s3Key: 'k', mimeType: 'a/b', fileSize: 1,
                           uploadedBy: clerk }
            await tx.case_Document.create({ data })
            await tx.case_Document.create({ data })
          }),
          uuid: await as(clerk, (tx) => tx.case.findUnique({ where: { id: 'nonsense' } })),
          twoUsers: await as(clerk, (tx) => tx.$queryRaw`SELECT public.act_as(${chair})`),
          afterwards: await as(clerk, async (tx) => {
            await tx.case.create({ data: { ...data, title: '' } }).catch(() => {})
            await tx.case.findMany()
          }),
        }
    """)

    code = {what: (error["code"], error.get("sqlstate")) for what, error in found.items()}
    assert code == {
        "trigger": ("P2039", "23514"),
        "check": ("P2039", "23514"),
        "policy": ("P2039", "42501"),
        "grant": ("P2039", "42501"),
        "log": ("P2039", "42501"),
        "hidden": ("P2025", None),
        "unique": ("P2002", "23505"),
        "uuid": ("P2007", "22P02"),
        "twoUsers": ("P2010", "25001"),
        "afterwards": ("P2039", "25P02"),
    }
    assert found["trigger"]["message"] == "a case cannot go from NEW to COMPLETED by a clerk"
    assert "PENDING_REVIEW (by a chair or clerk)" in found["trigger"]["hint"]
    assert "case_title_not_empty" in found["check"]["message"]
    assert "row-level security policy" in found["policy"]["message"]
    assert "One transaction, one user" in found["twoUsers"]["hint"]
    assert "case_documents_s3_key_key" in found["unique"]["message"]


def test_nobody_acts_without_being_an_active_user(back_end: BackEnd) -> None:
    with connect(back_end.admin, purpose="test") as connection:
        connection.execute("UPDATE public.users SET is_active = false WHERE role = 'CHAIR'")

    found = back_end("""
        const cases = (user: string) => refused(asUser(app, user, (tx) => tx.case.findMany()))
        const now = Math.floor(Date.now() / 1000)
        const claims = (more: object) =>
          refused(asClaims(app, { sub: clerk, ...more }, (tx) => tx.case.findMany()))
        return {
          unknown: await cases('00000000-0000-7000-8000-000000000000'),
          nonsense: await cases("' OR true --"),
          inactive: await cases(chair),
          outside: await refused(app.case.findMany()),
          // The outer client inside a user's transaction is another connection, for nobody.
          otherConnection: await refused(asUser(app, clerk, () => app.case.findMany())),
          expired: await claims({ exp: now - 3600 }),
          otherRole: await claims({ role: 'CHAIR', exp: now + 60 }),
          valid: await claims({ role: 'CLERK', exp: now + 60 }),
        }
    """)

    assert found.pop("valid") == "it was not refused"
    assert all(error["sqlstate"] in ("0P000", "42501") for error in found.values()), found
    for who in ("unknown", "nonsense", "inactive", "expired", "otherRole"):
        assert (found[who]["code"], found[who]["sqlstate"]) == ("P2010", "0P000"), found[who]
        assert found[who]["hint"].startswith("Let the user log in again"), found[who]
    assert "unknown or not active" in found["unknown"]["detail"]
    assert 'nobody may act as user "' in found["inactive"]["message"]
    assert found["outside"]["message"] == "permission denied for table cases"


def test_the_pool_is_clean_after_whatever_happened(back_end: BackEnd) -> None:
    found = back_end("""
        type Left = { role: string; id: string; setting: string; identity: string | null }
        const left = async () => {
          // Both connections of the pool at once, each held until the other one has answered.
          let both: (() => void) | undefined, arrived = 0
          const barrier = new Promise<void>((resolve) => (both = resolve))
          const look = () => app.$transaction(async (tx) => {
            const [row] = await tx.$queryRaw<Left[]>`
              SELECT current_user::text AS role, pg_backend_pid()::text AS id,
                     current_setting('role') AS setting,
                     nullif(current_setting('app.user_id', true), '') AS identity`
            if (++arrived === 2) both!()
            await barrier
            return row!
          })
          return await Promise.all([look(), look()])
        }
        const before = await left()
        const read = (user: string) => asUser(app, user, (tx) => tx.case.findMany())
        await Promise.all([read(clerk), read(chair)])
        const committed = await left()
        await refused(asUser(app, clerk, (tx) => tx.case.create({
          data: { title: '', description: '', createdBy: clerk } })))
        await refused(asUser(app, chair, () => Promise.reject(new Error('of the back end'))))
        const rolledBack = await left()
        const late = await refused(asUser(
          app, chair,
          async (tx) => { await tx.$queryRaw`SELECT pg_sleep(1)::text`; await tx.case.findMany() },
          { timeout: 200 },
        ))
        return { before, committed, rolledBack, late, expired: await left() }
    """)

    assert found.pop("late")["code"] == "P2028"
    pids = {row["id"] for row in found["before"]}
    assert len(pids) == 2
    for rows in found.values():
        # The same two connections, as they were.
        assert {row["id"] for row in rows} == pids
        assert {(row["role"], row["setting"], row["identity"]) for row in rows} == {
            ("case_app", "none", None)
        }


def test_the_other_errors_of_the_page_have_the_codes_that_it_says(back_end: BackEnd) -> None:
    found = back_end("""
        const as = (work: (tx: any) => Promise<unknown>) => refused(asUser(app, clerk, work))
        const seed = createClient({ user: 'case_seed', max: 1 })
        const small = createClient({ max: 1, connectionTimeoutMillis: 300 })
        const hold = asUser(small, clerk, (tx) => tx.$queryRaw`SELECT pg_sleep(1.5)::text`)
        const noConnection = await refused(asUser(small, clerk, (tx) => tx.case.findMany()))
        await hold
        await small.$disconnect()
        // Each takes one lock and then wants the other's.
        let first: (() => void) | undefined, locked = 0
        const both = new Promise<void>((resolve) => (first = resolve))
        const lock = (user: string, keys: string[]) => refused(asUser(app, user, async (tx) => {
          await tx.$queryRaw`SELECT pg_advisory_xact_lock(${keys[0]}::bigint)::text`
          if (++locked === 2) first!()
          await both
          await tx.$queryRaw`SELECT pg_advisory_xact_lock(${keys[1]}::bigint)::text`
        }))
        const deadlock = await Promise.all([lock(clerk, ['1', '2']), lock(chair, ['2', '1'])])
        const rename = (user: string) => refused(asUser(app, user, async (tx) => {
          await tx.case.findMany()
          // Both have their snapshot before either one writes.
          if (++locked === 4) second!()
          await bothRead
          await tx.case.update({ where: { id: sample }, data: { title: user } })
        }, { isolationLevel: 'RepeatableRead' }))
        let second: (() => void) | undefined
        const bothRead = new Promise<void>((resolve) => (second = resolve))
        const renamed = await Promise.all([rename(clerk), rename(chair)])
        const result = {
          noConnection,
          deadlock: deadlock.find((it) => typeof it !== 'string'),
          serialization: renamed.find((it) => typeof it !== 'string'),
          reference: await refused(seed.case.create({ data: {
            title: 'A', description: '', createdBy: '00000000-0000-7000-8000-000000000000' } })),
          missing: await as((tx) => tx.$executeRaw`
            INSERT INTO public.cases (title, description, created_by)
            VALUES ('A', NULL, ${clerk}::uuid)`),
          slow: await as(async (tx) => {
            await tx.$executeRaw`SET LOCAL statement_timeout = 100`
            await tx.$queryRaw`SELECT pg_sleep(1)::text`
          }),
          enumValue: await as((tx) => tx.case.create({
            data: { title: 'A', description: '', createdBy: clerk, status: 'LOST' } })),
        }
        await seed.$disconnect()
        return result
    """)

    assert "timeout exceeded when trying to connect" in found.pop("noConnection")
    assert "PrismaClientValidationError" in found.pop("enumValue")
    assert {what: (error["code"], error["sqlstate"]) for what, error in found.items()} == {
        "deadlock": ("P2010", "40P01"),
        "serialization": ("P2034", "40001"),
        "reference": ("P2003", "23503"),
        "missing": ("P2010", "23502"),
        "slow": ("P2010", "57014"),
    }
