"""What of a host needs no host: pg_hba.conf, postgresql.conf, certificates, secrets."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy import hba
from deploy.changes import mask, text_change
from deploy.conf import Line, Place, quote, render
from deploy.defaults import DEFAULTS
from deploy.hba import Rule
from deploy.machine import Machine
from deploy.pki import CERTIFICATE_LIFE, authority, certificate_problem
from deploy.secrets import resolve
from deploy.settings import settings
from deploy.sizes import GB
from deploy.window import may_restart

PLACE = Place(17, "main")
NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
MONTH = timedelta(days=30)


def test_our_own_rules_are_safe() -> None:
    assert hba.check(hba.local_rules(["10.0.0.0/8"])) == []


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (Rule("hostssl", ("all",), ("all",), "0.0.0.0/0", "trust"), "without a proof"),
        (Rule("hostssl", ("all",), ("all",), "0.0.0.0/0", "md5"), "can be broken"),
        (Rule("hostssl", ("all",), ("all",), "0.0.0.0/0", "password"), "in clear"),
        (Rule("host", ("all",), ("all",), "0.0.0.0/0"), "without TLS"),
        (Rule("local", ("all",), ("all",), "10.0.0.0/8"), "no address"),
        (Rule("hostssl", ("all",), ("all",)), "no address"),
        (Rule("hostssl", ("all",), ("all",), "all", "peer"), "local connections only"),
        (Rule("hostssl", (), ("all",), "all"), "no database"),
        (Rule("hostsll", ("all",), ("all",), "all"), "no connection type"),
        (Rule("hostssl", ("all",), ("all",), "all", "scram"), "no method scram"),
    ],
)
def test_an_unsafe_rule_is_named(rule: Rule, problem: str) -> None:
    (found,) = hba.check([*hba.local_rules(), rule])

    assert problem in found


def test_rules_that_would_lock_us_out_are_refused() -> None:
    assert "lock ourselves out" in "".join(hba.check(hba.local_rules()[1:]))
    assert "nobody" in "".join(hba.check([]))


def test_an_odd_name_is_quoted_and_a_keyword_is_not() -> None:
    rule = Rule("hostssl", ("all", "a b"), ('o"dd', "case_app"), "samenet")

    assert hba.render([rule]).splitlines()[-1] == (
        'hostssl  all,"a b"  "o""dd",case_app  samenet  scram-sha-256'
    )


def test_a_setting_of_the_inventory_replaces_ours() -> None:
    data = {**DEFAULTS, "pg_settings": {"work_mem": "1MB", "log_statement": "none"}}

    text = render(PLACE, settings(Machine(16 * GB, 4), data))

    assert text.count("work_mem = '1MB'") == 1
    assert "\nlog_statement = 'ddl'" not in text
    assert text.index("# From the inventory") < text.index("log_statement = 'none'")


def test_the_preset_of_the_plan_can_be_chosen_and_no_other() -> None:
    data = {**DEFAULTS, "tuning_preset": "phase0"}
    assert "shared_buffers = '256MB'" in render(PLACE, settings(Machine(16 * GB, 4), data))
    with pytest.raises(ValueError, match="phase1"):
        settings(Machine(16 * GB, 4), {**DEFAULTS, "tuning_preset": "phase1"})


@pytest.mark.parametrize("line", [Line("a b", "1"), Line("a'", "1"), Line("", "1")])
def test_a_name_that_is_none_is_refused(line: Line) -> None:
    with pytest.raises(ValueError, match="no name"):
        render(PLACE, {"x": [line]})


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="set by a and by b"):
        render(PLACE, {"a": [Line("work_mem", "1MB")], "b": [Line("work_mem", "2MB")]})


def test_values_are_quoted_and_line_breaks_refused() -> None:
    assert quote("it's \\") == "'it''s \\\\'"
    with pytest.raises(ValueError, match="line break"):
        quote("1'\nsuperuser_reserved_connections = 0")


def test_a_certificate_is_good_until_a_month_before_its_end(tmp_path: Path) -> None:
    ours = authority(tmp_path / "pki", now=NOON)
    certificate, key = ours.issue(("db1", "10.0.0.1"), now=NOON)

    def problem(at: datetime, names: tuple[str, ...] = ("10.0.0.1", "db1")) -> str:
        return certificate_problem(
            certificate, ours.certificate_pem, names, now=at, renew_before=MONTH
        )

    assert problem(NOON) == ""
    assert problem(NOON + CERTIFICATE_LIFE - MONTH - timedelta(days=1)) == ""
    assert problem(NOON + CERTIFICATE_LIFE - MONTH + timedelta(days=1)).startswith("it ends on")
    assert problem(NOON, ("db2",)) == "its names differ"
    assert "PRIVATE KEY" in key
    assert (tmp_path / "pki" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert authority(tmp_path / "pki", now=NOON) == ours


def test_a_certificate_of_somebody_else_is_no_good(tmp_path: Path) -> None:
    ours = authority(tmp_path / "ours", now=NOON)
    theirs, _key = authority(tmp_path / "theirs", now=NOON).issue(("db1",), now=NOON)

    for found in (theirs, "no certificate", ""):
        assert certificate_problem(
            found, ours.certificate_pem, ("db1",), now=NOON, renew_before=MONTH
        )


def test_a_secret_comes_from_a_file_the_environment_or_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("hush \nmore\n")
    (tmp_path / "secret").chmod(0o600)
    monkeypatch.setenv("A_SECRET", "hush")

    assert resolve(f"file:{tmp_path}/secret") == "hush "
    assert resolve("env:A_SECRET") == "hush"
    assert resolve("command:printf hush") == "hush"


def test_a_secret_that_others_could_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    (tmp_path / "secret").chmod(0o644)

    with pytest.raises(ValueError, match="read by others"):
        resolve(f"file:{tmp_path}/secret")


@pytest.mark.parametrize(
    "reference", ["hush-hush", "file:/nowhere", "env:NOT_SET", "command:false", "command:true"]
)
def test_a_reference_that_leads_nowhere_is_refused_and_never_shown_whole(reference: str) -> None:
    with pytest.raises(ValueError, match="secret") as raised:
        resolve(reference)

    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("when", "hour", "may"),
    [
        ("always", 12, True),
        ("never", 12, False),
        ("01:00-03:00", 2, True),
        ("01:00-03:00", 3, False),
        ("22:00-04:00", 23, True),
        ("22:00-04:00", 12, False),
    ],
)
def test_a_restart_is_for_its_window(when: str, hour: int, may: bool) -> None:
    assert may_restart(when, now=NOON.replace(hour=hour)) is may


def test_a_window_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="tonight"):
        may_restart("tonight", now=NOON)


def test_a_diff_shows_no_verifier() -> None:
    verifier = "SCRAM-SHA-256$4096:abc=$def=:ghi="

    assert "abc" not in mask(f"ALTER ROLE x PASSWORD '{verifier}'")
    assert "abc" not in "".join(text_change("x", None, verifier).lines)
