"""A certificate near its end is found; the server serves the new one without a restart."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from deploy.pki import authority

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

pytestmark = pytest.mark.hosts

FOLDER = "/etc/casedb/tls"


def served(host: "Host") -> str:
    """Return the serial number of the certificate that the server shows to who connects."""
    return host.run(
        "openssl s_client -starttls postgres -connect 127.0.0.1:5432 </dev/null 2>/dev/null"
        " | openssl x509 -noout -serial"
    )


def test_a_certificate_is_renewed_a_month_before_its_end(
    host: "Host", rehearsal: "Rehearsal"
) -> None:
    ours = authority(rehearsal.folder / ".casedb/pki", now=datetime.now(UTC))
    names = (host.name, "localhost", "127.0.0.1")
    old, key = ours.issue(names, now=datetime.now(UTC) - timedelta(days=370))
    host.run(f"cat >{FOLDER}/server.crt", old.strip())
    host.run(f"cat >{FOLDER}/server.key", key.strip())
    host.sql("SELECT pg_reload_conf()")
    started = host.sql("SELECT pg_postmaster_start_time()")
    ending = served(host)

    code, drift = rehearsal.host("drift", "--limit", host.name)
    applied, _found = rehearsal.host("apply", "--yes", "--limit", host.name)
    again, _nothing = rehearsal.host("drift", "--limit", host.name)

    (about,) = drift["hosts"]
    changes = [change for step in about["steps"] for change in step["changes"]]
    assert (code, applied, again) == (9, 0, 0)
    assert changes[0]["what"] == f"{FOLDER}/server.crt"
    assert changes[0]["effect"] == "reload"
    # The key is not in the answer.
    assert "PRIVATE" not in str(drift)
    assert served(host) != ending
    assert host.sql("SELECT pg_postmaster_start_time()") == started
    host.run(f"openssl verify -CAfile {FOLDER}/ca.crt {FOLDER}/server.crt")
