"""What a back end does with the client, as each of the three roles."""

from typing import Any

import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from tests.prisma.conftest import BackEnd


def query(target: Conninfo, statement: str) -> list[Any]:
    with connect(target, purpose="test") as connection:
        return connection.execute(statement.encode()).fetchall()


def change(target: Conninfo, *statements: str) -> None:
    with connect(target, purpose="test") as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_case_goes_its_way_through_the_hands_of_all_three(back_end: BackEnd) -> None:
    found = back_end("""
        const made = await asUser(app, clerk, (tx) => tx.case.create({
          data: { title: 'Roof', description: 'It leaks', priority: 'HIGH', createdBy: clerk },
        }))
        const id = made.id
        const step = (user: string, data: object) =>
          asUser(app, user, (tx) => tx.case.update({ where: { id }, data }))
        await step(clerk, { status: 'PENDING_REVIEW', title: 'Leaking roof' })
        await step(chair, { status: 'ASSIGNED', assignedTo: caseworker })
        await step(caseworker, { status: 'IN_PROGRESS' })
        await asUser(app, caseworker, async (tx) => {
          await tx.case_Document.create({
            data: { caseId: id, filename: 'roof.jpg', s3Key: 'a/b', mimeType: 'image/jpeg',
                    fileSize: 5, uploadedBy: caseworker },
          })
          await tx.$queryRaw`SELECT public.comment_on_case(${id}::uuid, ${'Seen it'})`
        })
        await step(caseworker, { status: 'PENDING_COMPLETION' })
        await step(chair, { status: 'COMPLETED' })
        return await asUser(app, clerk, (tx) => tx.case.findUniqueOrThrow({
          where: { id },
          include: {
            assignee: true, documents: true, comments: true,
            logs: { orderBy: { seq: 'asc' }, select: { seq: true, action: true, userId: true } },
          },
        }))
    """)

    assert (found["title"], found["status"], found["priority"]) == (
        "Leaking roof",
        "COMPLETED",
        "HIGH",
    )
    assert found["assignee"]["firstName"] == "Bob"
    assert "password" not in found["assignee"]
    assert found["documents"][0]["filename"] == "roof.jpg"
    assert found["comments"][0]["body"] == "Seen it"
    by = {user_id: email.partition("@")[0] for email, user_id in back_end.users.items()}
    assert [(log["seq"], log["action"], by[log["userId"]]) for log in found["logs"]] == [
        (1, "created", "clerk"),
        (2, "updated", "clerk"),
        (3, "status_changed", "clerk"),
        (4, "assigned", "chair"),
        (5, "status_changed", "chair"),
        (6, "status_changed", "caseworker"),
        (7, "document_added", "caseworker"),
        (8, "commented", "caseworker"),
        (9, "status_changed", "caseworker"),
        (10, "status_changed", "chair"),
    ]


def test_each_role_sees_its_own_cases(back_end: BackEnd) -> None:
    found = back_end("""
        const seen = (user: string) => asUser(app, user, (tx) => tx.case.findMany())
        const counted = await asUser(app, chair, (tx) =>
          tx.case.groupBy({ by: ['status'], where: { priority: 'MEDIUM' }, _count: true }))
        return [
          (await seen(clerk)).length, (await seen(chair)).length, (await seen(caseworker)).length,
          counted,
        ]
    """)

    assert found == [1, 1, 0, [{"_count": 1, "status": "NEW"}]]


def test_the_password_is_left_out_and_cannot_be_asked_for(back_end: BackEnd) -> None:
    found = back_end("""
        return await asUser(app, chair, async (tx) => ({
          listed: await tx.user.findMany({ orderBy: { email: 'asc' } }),
          asked: await refused(tx.user.findMany({ omit: { password: false } })),
        }))
    """)

    assert [user["role"] for user in found["listed"]] == ["CASEWORKER", "CHAIR", "CLERK"]
    assert not any("password" in user for user in found["listed"])
    assert found["asked"]["message"] == "permission denied for table users"


def test_one_changes_ones_own_name_and_nobody_elses(back_end: BackEnd) -> None:
    found = back_end("""
        const rename = (id: string, firstName: string) => (tx: any) =>
          tx.user.update({ where: { id }, data: { firstName } })
        const mine = await asUser(app, clerk, rename(clerk, 'Zoe'))
        return [mine.firstName, await refused(asUser(app, clerk, rename(chair, 'Zoe')))]
    """)

    assert found[0] == "Zoe"
    assert found[1]["code"] == "P2025"
    assert query(back_end.admin, "SELECT first_name FROM public.users WHERE role = 'CHAIR'") == [
        ("Jane",)
    ]


def test_only_one_of_two_chairs_assigns(back_end: BackEnd) -> None:
    found = back_end("""
        await asUser(app, clerk, (tx) =>
          tx.case.update({ where: { id: sample }, data: { status: 'PENDING_REVIEW' } }))
        const assign = () => refused(asUser(app, chair, (tx) => tx.case.update({
          where: { id: sample, status: 'PENDING_REVIEW' },
          data: { status: 'ASSIGNED', assignedTo: caseworker },
        })))
        return await Promise.all([assign(), assign()])
    """)

    codes = sorted(x if isinstance(x, str) else x["code"] for x in found)
    assert codes == ["P2025", "it was not refused"]


# Whatever the server's own time zone is; the adapter drops a time's offset without looking at it.
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_times_are_what_they_are(back_end: BackEnd, zone: str) -> None:
    name = back_end.admin.dbname
    change(back_end.admin, f"ALTER DATABASE {name} SET TimeZone = '{zone}'")

    found = back_end("""
        const [made, [server]] = await asUser(app, clerk, async (tx) => [
          await tx.case.create({ data: { title: 'A', description: '', createdBy: clerk } }),
          await tx.$queryRaw<{ ms: number }[]>`
            SELECT floor(extract(epoch FROM now()) * 1000)::float8 AS ms`,
        ] as const)
        const again = await asUser(app, clerk, (tx) =>
          tx.case.findFirst({ where: { createdAt: made.createdAt } }))
        return [made.createdAt.getTime() - server!.ms, again?.id === made.id]
    """)

    # PostgreSQL rounds to the millisecond.
    assert found[0] in (0, 1)
    assert found[1] is True


def test_the_servers_clock_counts_and_not_the_clients(back_end: BackEnd) -> None:
    found = back_end("""
        const real = Date.now
        Date.now = () => real() + 3_600_000
        const RealDate = Date
        globalThis.Date = class extends RealDate {
          constructor(...words: unknown[]) {
            if (words.length) super(...(words as [number])); else super(RealDate.now())
          }
        } as DateConstructor
        const made = await asUser(app, clerk, (tx) =>
          tx.case.create({ data: { title: 'A', description: '', createdBy: clerk } }))
        return [made.createdAt, made.updatedAt].map((time) => time.getTime() - real())
    """)

    assert all(abs(ms) < 60_000 for ms in found)


def test_paging_loses_no_row(back_end: BackEnd) -> None:
    with connect(back_end.admin, purpose="test", autocommit=False) as connection:
        # 50 rows of one and the same time, six times over.
        for _ in range(6):
            connection.execute(
                "INSERT INTO public.cases (title, description, created_by)"
                " SELECT 'case', '', id FROM public.users, generate_series(1, 50)"
                " WHERE role = 'CLERK'"
            )
            connection.commit()
        times = scalar(connection, "SELECT count(DISTINCT created_at) FROM public.cases")
        total = scalar(connection, "SELECT count(*) FROM public.cases")
    assert times == 7

    found = back_end("""
        const seen: string[] = []
        let last: { createdAt: Date; id: string } | undefined
        for (;;) {
          const page = await asUser(app, clerk, (tx) => tx.case.findMany({
            where: { AND: [after(last), { status: 'NEW' }] },
            orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
            take: 7,
          }))
          if (page.length === 0) break
          seen.push(...page.map((row) => row.id))
          last = page.at(-1)
          // Meanwhile somebody writes: new rows come before the first page and shift nothing.
          if (seen.length % 70 === 0) {
            await asUser(app, clerk, (tx) =>
              tx.case.create({ data: { title: 'new', description: '', createdBy: clerk } }))
          }
        }
        return seen
    """)

    ordered = query(
        back_end.admin,
        "SELECT id::text FROM public.cases WHERE title <> 'new' ORDER BY created_at DESC, id DESC",
    )
    assert found == [row[0] for row in ordered]
    assert len(found) == total


def test_the_login_is_the_only_way_to_a_hash(back_end: BackEnd) -> None:
    change(
        back_end.admin,
        "UPDATE public.users SET is_active = false WHERE email = 'chair@example.com'",
    )

    found = back_end("""
        const login = (email: string) =>
          app.$queryRaw<{ id: string; role: string; password: string }[]>`
            SELECT id, role, password FROM public.login(${email})`
        return {
          known: await login('Clerk@Example.com'),
          unknown: await login('nobody@example.com'),
          inactive: await login('chair@example.com'),
          table: await refused(app.user.findMany()),
          asUser: await refused(asUser(app, clerk, (tx) =>
            tx.$queryRaw`SELECT password FROM public.login('clerk@example.com')`)),
        }
    """)

    assert [row["role"] for row in found["known"]] == ["CLERK"]
    assert found["known"][0]["password"].startswith("$2b$10$")
    assert found["unknown"] == found["inactive"] == []
    assert found["table"]["sqlstate"] == found["asUser"]["sqlstate"] == "42501"
