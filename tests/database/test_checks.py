"""Every rule of `casedb check schema` fires on what it is about, and on nothing that is well."""

from collections.abc import Iterator

import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ConfigurationError
from casedb.lint import parse_head, read_rules, run_checks
from casedb.roles import apply_roles

# What a policy may ask: shared by several of the examples.
WHO = (
    "CREATE FUNCTION public.who() RETURNS int LANGUAGE sql STABLE RETURN 1;"
    "CREATE FUNCTION public.slow_who() RETURNS int LANGUAGE plpgsql STABLE"
    " AS 'BEGIN RETURN 1; END';"
    "CREATE FUNCTION public.dice() RETURNS int LANGUAGE sql VOLATILE RETURN random()::int;"
    "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql SET search_path = ''"
    " AS 'BEGIN RAISE EXCEPTION ''no''; END';"
    "CREATE TABLE public.trees (id int CONSTRAINT trees_pkey PRIMARY KEY, planter int);"
    "CREATE TABLE public.leaves (id int CONSTRAINT leaves_pkey PRIMARY KEY, tree int);"
)
SECURED = (
    "ALTER TABLE public.trees ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
    "CREATE POLICY p ON public.trees USING (planter = (SELECT public.who()));"
)
VIEW = f"{SECURED} CREATE VIEW public.wood"
GUARD = (
    "CREATE TRIGGER guard BEFORE DELETE ON public.trees FOR EACH ROW EXECUTE FUNCTION public.no();"
)
TRUNCATE_GUARD = (
    "CREATE TRIGGER full_guard BEFORE TRUNCATE ON public.trees"
    " FOR EACH STATEMENT EXECUTE FUNCTION public.no();"
)
ALWAYS = (
    "ALTER TABLE public.trees ENABLE ALWAYS TRIGGER guard;"
    "ALTER TABLE public.trees ENABLE ALWAYS TRIGGER full_guard;"
)
FOREIGN_KEY = (
    "ALTER TABLE public.leaves ADD CONSTRAINT leaves_tree_fkey"
    " FOREIGN KEY (tree) REFERENCES public.trees;"
)
TRIGGER_FUNCTION = "CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql"
TRIGGER = "CREATE TRIGGER t BEFORE INSERT ON public.trees FOR EACH ROW EXECUTE FUNCTION public.t();"
DEFINER = "CREATE FUNCTION public.d() RETURNS int LANGUAGE plpgsql SECURITY DEFINER"
BODY = " AS 'BEGIN RETURN 1; END'"
INVALID = (
    "CREATE INDEX trees_planter ON public.trees (planter);"
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.trees_planter'::regclass;"
)

# Rule: what makes it fire, what does not, and the object it names.
EXAMPLES = {
    "backup-role-under-row-security": (
        f"{SECURED} CREATE ROLE checks_backup LOGIN; GRANT pg_read_all_data TO checks_backup;",
        f"{SECURED} CREATE ROLE checks_backup LOGIN BYPASSRLS;"
        " GRANT pg_read_all_data TO checks_backup;",
        "checks_backup",
    ),
    "constraint-not-validated": (
        "ALTER TABLE public.trees ADD CONSTRAINT c CHECK (id > 0) NOT VALID;",
        "ALTER TABLE public.trees ADD CONSTRAINT c CHECK (id > 0) NOT VALID;"
        "ALTER TABLE public.trees VALIDATE CONSTRAINT c;",
        "public.trees",
    ),
    "definer-function-for-everybody": (
        f"{DEFINER} SET search_path = ''{BODY}; GRANT EXECUTE ON FUNCTION public.d() TO PUBLIC;",
        f"{DEFINER} SET search_path = ''{BODY}; REVOKE ALL ON FUNCTION public.d() FROM PUBLIC;",
        "public.d()",
    ),
    "definer-function-without-search-path": (
        f"{DEFINER}{BODY}; REVOKE ALL ON FUNCTION public.d() FROM PUBLIC;",
        f"{DEFINER} SET search_path = ''{BODY}; REVOKE ALL ON FUNCTION public.d() FROM PUBLIC;",
        "public.d()",
    ),
    "duplicate-index": (
        "CREATE INDEX a ON public.trees (planter); CREATE INDEX b ON public.trees (planter);",
        "CREATE INDEX a ON public.trees (planter);"
        "CREATE INDEX b ON public.trees (planter) WHERE planter > 1;"
        "CREATE INDEX c ON public.trees (planter DESC);"
        "CREATE INDEX d ON public.trees (planter, id);"
        "CREATE INDEX e ON public.trees USING hash (planter);"
        "CREATE INDEX f ON public.trees ((planter + 1));"
        "CREATE INDEX g ON public.trees ((planter + 2));",
        "public.b",
    ),
    "foreign-key-without-index": (
        f"{FOREIGN_KEY} CREATE INDEX i ON public.leaves (id, tree);"
        "CREATE INDEX j ON public.leaves (tree) WHERE id > 7;",
        f"{FOREIGN_KEY} CREATE INDEX i ON public.leaves (tree, id) WHERE tree IS NOT NULL;",
        "public.leaves",
    ),
    "guard-not-always": (
        f"{GUARD}{TRUNCATE_GUARD} ALTER TABLE public.trees ENABLE ALWAYS TRIGGER full_guard;",
        f"{GUARD}{TRUNCATE_GUARD}{ALWAYS}",
        "public.trees",
    ),
    "index-on-enum-under-row-security": (
        f"{SECURED} CREATE TYPE public.kind AS ENUM ('oak'); ALTER TABLE public.trees"
        " ADD kind public.kind; CREATE INDEX trees_kind ON public.trees (kind);",
        f"{SECURED} CREATE DOMAIN public.kind AS text; ALTER TABLE public.trees"
        " ADD kind public.kind; CREATE INDEX trees_kind ON public.trees (kind);",
        "public.trees_kind",
    ),
    "invalid-index": (
        INVALID,
        "CREATE INDEX trees_planter ON public.trees (planter);",
        "public.trees_planter",
    ),
    "materialized-view-over-row-security": (
        f"{SECURED} CREATE MATERIALIZED VIEW public.wood AS SELECT * FROM public.trees;",
        f"{SECURED} CREATE MATERIALIZED VIEW public.wood AS SELECT * FROM public.leaves;",
        "public.wood",
    ),
    "owner-logs-in": (
        "CREATE ROLE checks_owner LOGIN; ALTER TABLE public.trees OWNER TO checks_owner;",
        "CREATE ROLE checks_owner NOLOGIN; ALTER TABLE public.trees OWNER TO checks_owner;",
        "checks_owner",
    ),
    "policy-calls-volatile-function": (
        "ALTER TABLE public.trees ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON public.trees USING (planter = (SELECT public.dice()));",
        SECURED,
        "public.trees",
    ),
    "policy-function-not-wrapped": (
        "ALTER TABLE public.trees ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON public.trees USING (planter = public.slow_who());",
        f"{SECURED} CREATE POLICY r ON public.trees USING (planter = public.who());"
        "CREATE POLICY s ON public.trees USING (planter = (SELECT public.slow_who()));"
        "CREATE POLICY q ON public.trees FOR INSERT WITH CHECK"
        " (EXISTS (SELECT FROM public.leaves AS l WHERE l.tree = trees.id AND abs(l.id) > 1)"
        " AND (SELECT current_setting('app.user_id', true)) IN ('a', 'b') AND"
        " (planter = 7 OR NOT (planter IN (SELECT public.who()))));",
        "public.trees",
    ),
    "policy-without-row-security": (
        "CREATE POLICY p ON public.trees USING (true);",
        SECURED,
        "public.trees",
    ),
    "row-security-not-forced": (
        f"{SECURED} ALTER TABLE public.trees NO FORCE ROW LEVEL SECURITY;",
        SECURED,
        "public.trees",
    ),
    "row-security-without-policy": (
        "ALTER TABLE public.trees ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;",
        SECURED,
        "public.trees",
    ),
    "schema-open-to-everybody": (
        "GRANT CREATE ON SCHEMA public TO PUBLIC;",
        "GRANT USAGE ON SCHEMA public TO PUBLIC;",
        "public",
    ),
    "table-for-everybody": (
        "GRANT SELECT ON public.trees TO PUBLIC;",
        "GRANT SELECT ON public.trees TO case_chair;",
        "public.trees",
    ),
    "table-without-primary-key": (
        "SET ROLE case_owner; CREATE TABLE public.heap (id int UNIQUE);",
        "CREATE TABLE public.heap (id int PRIMARY KEY);"
        "CREATE TABLE public.pile (id int, UNIQUE NULLS NOT DISTINCT (id));"
        "CREATE TABLE public.stack (id int NOT NULL UNIQUE);",
        "public.heap",
    ),
    "time-finer-than-milliseconds": (
        "ALTER TABLE public.trees ADD at timestamptz; CREATE INDEX i ON public.trees (at);",
        "ALTER TABLE public.trees ADD at timestamptz(3), ADD unsorted timestamptz;"
        "CREATE INDEX i ON public.trees (at);",
        "public.trees",
    ),
    "time-without-zone": (
        "ALTER TABLE public.trees ADD at timestamp(3);",
        "ALTER TABLE public.trees ADD at timestamptz(3);",
        "public.trees",
    ),
    "trigger-function-without-search-path": (
        f"{TRIGGER_FUNCTION} AS 'BEGIN RETURN new; END'; {TRIGGER}",
        f"{TRIGGER_FUNCTION} SET search_path = '' AS 'BEGIN RETURN new; END'; {TRIGGER}",
        "public.t()",
    ),
    "truncate-gap": (GUARD, f"{GUARD}{TRUNCATE_GUARD}{ALWAYS}", "public.trees"),
    "truncate-granted": (
        f"{SECURED} GRANT TRUNCATE ON public.trees, public.leaves TO case_chair;",
        f"{SECURED} GRANT DELETE ON public.trees TO case_chair;"
        "GRANT TRUNCATE ON public.leaves TO case_chair;",
        "public.trees",
    ),
    "view-not-security-invoker": (
        f"{VIEW} AS SELECT * FROM public.trees;",
        f"{VIEW} WITH (security_invoker = true) AS SELECT * FROM public.trees;",
        "public.wood",
    ),
}


@pytest.fixture
def workshop(empty_database: Conninfo) -> Iterator[Conninfo]:
    """A database with two tables and a few functions; roles that a test makes are gone after it."""
    apply_roles(empty_database)
    run(empty_database, f"SET ROLE case_owner; {WHO}")
    yield empty_database
    with connect(empty_database, purpose="test") as connection:
        made = "SELECT rolname FROM pg_roles WHERE rolname ~ '^checks_'"
        for (name,) in connection.execute(made).fetchall():
            connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


def run(target: Conninfo, text: str) -> None:
    with connect(target, purpose="test") as connection:
        connection.execute(text.encode())


def test_every_rule_has_an_example_here() -> None:
    assert sorted(EXAMPLES) == [rule.name for rule in read_rules()]


@pytest.mark.parametrize("rule", EXAMPLES)
def test_it_fires_on_what_it_is_about_and_nothing_else_does(workshop: Conninfo, rule: str) -> None:
    bad, _, named = EXAMPLES[rule]
    run(workshop, bad)

    findings = run_checks(workshop.replace(user="case_monitor"))

    assert {(found.rule, found.object) for found in findings} == {(rule, named)}
    assert all(found.message and found.hint.endswith(".") for found in findings)


@pytest.mark.parametrize("rule", EXAMPLES)
def test_it_is_silent_on_what_is_as_it_should_be(workshop: Conninfo, rule: str) -> None:
    run(workshop, EXAMPLES[rule][1])

    found = [(one.rule, one.object, one.detail) for one in run_checks(workshop)]

    assert [one for one in found if one[0] == rule] == []


@pytest.mark.parametrize(
    ("options", "body", "fires"),
    [
        ("LANGUAGE sql STABLE", "RETURN 1", False),
        ("LANGUAGE sql STABLE", "AS $$SELECT nullif(current_setting('x', true), '')::int$$", False),
        ("LANGUAGE sql IMMUTABLE", "AS 'SELECT 1;'", False),
        ("LANGUAGE sql VOLATILE", "RETURN 1", True),
        ("LANGUAGE plpgsql STABLE", "AS 'BEGIN RETURN 1; END'", True),
        ("LANGUAGE sql STABLE SET search_path = ''", "RETURN 1", True),
        ("LANGUAGE sql STABLE SECURITY DEFINER", "RETURN 1", True),
        ("LANGUAGE sql STABLE", "RETURN (SELECT max(l.id) FROM public.leaves AS l)", True),
        ("LANGUAGE sql STABLE", "AS 'SELECT 2; SELECT 1'", True),
    ],
)
def test_a_call_needs_no_wrapping_if_the_planner_replaces_it_by_its_body(
    workshop: Conninfo, options: str, body: str, fires: bool
) -> None:
    run(
        workshop,
        f"CREATE FUNCTION public.called() RETURNS int {options} {body};"
        "ALTER TABLE public.trees ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON public.trees USING (planter = public.called());"
        "CREATE ROLE checks_reader; GRANT USAGE ON SCHEMA public TO checks_reader;"
        "GRANT SELECT ON public.trees, public.leaves TO checks_reader;"
        "GRANT EXECUTE ON FUNCTION public.called() TO checks_reader",
    )

    found = [
        one.detail for one in run_checks(workshop) if one.rule == "policy-function-not-wrapped"
    ]

    assert found == ["policy p calls public.called() for every row"] * fires
    # PostgreSQL itself is the judge: what it has replaced is not in the plan by its name.
    with connect(workshop, purpose="test") as connection:
        connection.execute("SET ROLE checks_reader")
        plan = connection.execute("EXPLAIN (VERBOSE) SELECT * FROM public.trees").fetchall()
    is_replaced = not any("called()" in line for (line,) in plan)
    # A volatile one is replaced as well if its body is not; another rule is about those.
    assert is_replaced == (not fires or "VOLATILE" in options)


@pytest.mark.parametrize(
    ("condition", "fires"),
    [
        ("planter = public.who()", False),
        ("public.who() = planter", False),
        ("id > 0 AND (planter = public.who() OR id = public.who())", False),
        ("(SELECT public.who()) IS NOT NULL", False),
        ("public.who() IS NOT NULL", True),
        ("planter = public.who() OR public.who() = 1", True),
        ("id = ANY (ARRAY[public.who()])", True),
    ],
)
def test_only_what_is_compared_with_a_column_needs_no_wrapping(
    workshop: Conninfo, condition: str, fires: bool
) -> None:
    run(
        workshop,
        "ALTER TABLE public.trees ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        f"CREATE POLICY p ON public.trees USING ({condition});",
    )

    found = [
        one.detail for one in run_checks(workshop) if one.rule == "policy-function-not-wrapped"
    ]

    assert found == ["policy p calls public.who() for every row"] * fires


def test_the_projects_own_schema_has_no_finding(database: Conninfo) -> None:
    found = run_checks(database.replace(user="case_monitor"))

    assert [(one.rule, one.object, one.detail) for one in found] == []


def test_every_rule_says_what_why_and_how(workshop: Conninfo) -> None:
    for rule in read_rules():
        assert rule.message[0].isupper(), rule.name
        assert rule.why, rule.name
        assert rule.hint.endswith("."), rule.name


def test_a_rule_without_a_hint_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="does not say"):
        parse_head("x", "-- It is wrong.\nSELECT 1")
