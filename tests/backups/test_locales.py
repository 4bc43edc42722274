"""A database of any locale provider, and money of any currency, is dumped and restored as it is."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from psycopg import sql

from backups.attempt import Wish
from backups.drill import drill
from backups.dump import dump
from backups.facts import read_properties
from backups.instructions import restored_name
from backups.restore import restore
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import UnverifiedError
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from tests.backups.test_restore import run_all

Make = Callable[[str], Conninfo]
_numbers = count(1)
GERMAN = "de_DE.UTF-8"
ROWS = (
    "CREATE TABLE words (w text PRIMARY KEY, CHECK (lower(w) <> 'x'));"
    "INSERT INTO words VALUES ('Öl'), ('Ofen'), ('ofen'), ('Zug'), ('zug'), ('ß'), ('ss')"
)


@pytest.fixture
def make(cluster: Conninfo, roles: None) -> Iterator[Make]:
    """Make an empty database with options of CREATE DATABASE; the superuser's conninfo of it."""
    made: list[str] = []

    def new(options: str) -> Conninfo:
        made.append(f"locale_{next(_numbers)}")
        statement = f"CREATE DATABASE {made[-1]} TEMPLATE template0 ENCODING 'UTF8' {options}"
        with connect(cluster, purpose="test") as connection:
            connection.execute(statement.encode())
        return cluster.replace(dbname=made[-1])

    yield new
    with connect(cluster, purpose="test") as connection:
        for name in made:
            for database in (name, f"{name}_copy", restored_name(name)):
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(database)))


@pytest.fixture(scope="module")
def german(tools: PostgresTools) -> Iterator[Conninfo]:
    """The superuser's conninfo of a server that also has a locale with a currency of its own."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales/de_DE").exists():
        pytest.skip("there is nothing to make a locale of (Debian: apt install locales)")
    # Where the server's own user can read it, too.
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder).chmod(0o755)
        made = Path(folder, GERMAN)
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", made], check=True)
        if (theirs := Path("/usr/lib/locale/C.utf8")).exists():
            shutil.copytree(theirs, Path(folder, "C.utf8"))
        patch.setenv("LOCPATH", folder)
        with throwaway_cluster(tools) as admin:
            run(
                admin,
                "CREATE ROLE sample_backup LOGIN BYPASSRLS",
                "GRANT pg_read_all_data TO sample_backup",
                "CREATE DATABASE shop",
            )
            yield admin


def run(target: Conninfo, *statements: str) -> None:
    with connect(target, purpose="test") as connection:
        for statement in statements:
            connection.execute(statement.encode())


def require_restores(target: Conninfo, tools: PostgresTools, root: Path) -> None:
    """Dump, drill, restore beside, and do what RESTORE.txt says: it is the same each time."""
    store = LocalStore(root / "store")
    admin = target.replace(dbname="postgres")

    manifest = dump(target.replace(user="sample_backup"), store, tools=tools)

    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"
    copy = f"{target.dbname}_copy"
    restore(store, Wish(manifest.label, copy), admin, tools=tools)
    (folder,) = (path for path in store.root.rglob(manifest.label) if path.is_dir())
    text = (folder / "RESTORE.txt").read_text()
    run_all(
        [line.strip() for line in text.splitlines() if line.startswith("    ")],
        folder,
        admin,
        tools,
    )
    for name in (copy, restored_name(target.dbname)):
        with connect(target.replace(dbname=name), purpose="test") as connection:
            assert read_properties(connection) == manifest.properties


@pytest.mark.full_server
@pytest.mark.parametrize("locale", ["de-DE", "de-DE-u-co-phonebk", "und", "en-US-u-kf-upper"])
def test_a_database_of_icu(make: Make, tools: PostgresTools, tmp_path: Path, locale: str) -> None:
    target = make(f"LOCALE_PROVIDER icu ICU_LOCALE '{locale}' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'")
    run(target, ROWS)

    require_restores(target, tools, tmp_path)


@pytest.mark.full_server
@pytest.mark.since_16
def test_a_database_of_icu_with_rules_of_its_own(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    target = make("LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' ICU_RULES '&Z < o <<< O' LOCALE 'C'")
    run(target, ROWS)

    require_restores(target, tools, tmp_path)


@pytest.mark.since_17
@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "PG_UNICODE_FAST"])
def test_a_database_of_the_builtin_provider(
    make: Make, tools: PostgresTools, tmp_path: Path, locale: str
) -> None:
    if locale == "PG_UNICODE_FAST" and tools.major < 18:
        locale = "C.UTF-8"
    target = make(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE '{locale}' LOCALE 'C'")
    run(target, ROWS)

    require_restores(target, tools, tmp_path)


@pytest.mark.full_server
def test_a_primary_key_under_which_different_texts_are_equal(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    target = make("LOCALE 'C.UTF-8'")
    run(
        target,
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = off);"
        "CREATE TABLE t (n int, w text COLLATE loose, PRIMARY KEY (w, n));"
        "CREATE TABLE u (n int, w text COLLATE loose, FOREIGN KEY (w, n) REFERENCES t (w, n));"
        "INSERT INTO t VALUES (1, 'Öl'), (2, 'ol'), (3, 'OL'), (4, 'résumé'), (5, 'Resume');"
        "INSERT INTO u VALUES (1, 'ol'), (4, 'RESUME')",
    )

    require_restores(target, tools, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        "LOCALE 'de_DE.UTF-8'",
        "LOCALE 'C'; ALTER DATABASE shop2 SET lc_monetary = 'de_DE.UTF-8'",
        "LOCALE 'C'; ALTER ROLE sample_backup SET lc_monetary = 'de_DE.UTF-8'",
    ],
    ids=["collation", "database", "role"],
)
def test_a_machine_without_the_locale_cannot_drill_and_that_is_no_fault_of_the_backup(
    german: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    options: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = f"CREATE DATABASE shop2 TEMPLATE template0 ENCODING 'UTF8' {options}"
    run(german, *create.split("; "))
    try:
        store = LocalStore(tmp_path)
        manifest = dump(german.replace(dbname="shop2"), store, tools=tools)
    finally:
        run(german, "DROP DATABASE shop2", "ALTER ROLE sample_backup RESET ALL")
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"
    monkeypatch.delenv("LOCPATH")

    with pytest.raises(UnverifiedError, match="locale"):
        drill(store, manifest.label, tools=tools, with_access=False)


@pytest.mark.parametrize(
    "setting",
    [
        "ALTER DATABASE shop SET lc_monetary = 'de_DE.UTF-8'",
        "ALTER ROLE sample_backup SET lc_monetary = 'de_DE.UTF-8'",
        "ALTER SYSTEM SET lc_monetary = 'de_DE.UTF-8'",
    ],
    ids=["database", "role", "server"],
)
def test_money_is_the_same_amount_whatever_it_is_printed_like(
    german: Conninfo, tools: PostgresTools, tmp_path: Path, setting: str
) -> None:
    shop = german.replace(dbname="shop")
    run(german, setting, "SELECT pg_reload_conf()")
    try:
        run(
            shop,
            f"SET lc_monetary = '{GERMAN}'; DROP TABLE IF EXISTS prices;"
            "CREATE TABLE prices (n int PRIMARY KEY, price money DEFAULT '1.234,50');"
            "INSERT INTO prices SELECT n, '1.234,56'::money * n FROM generate_series(1, 9) AS n",
        )

        require_restores(shop, tools, tmp_path)

        for name in ("shop_copy", restored_name("shop")):
            with connect(german.replace(dbname=name), purpose="test") as connection:
                connection.execute("SET lc_monetary = 'C'")
                assert scalar(connection, "SELECT max(price)::text FROM prices") == "$11,111.04"
    finally:
        run(
            german,
            "ALTER DATABASE shop RESET ALL",
            "ALTER ROLE sample_backup RESET ALL",
            "ALTER SYSTEM RESET lc_monetary",
            "SELECT pg_reload_conf()",
            *(f"DROP DATABASE IF EXISTS {name}" for name in ("shop_copy", restored_name("shop"))),
        )
