"""Controls of PgBouncer; a host without one of ours is well."""

from collections.abc import Callable, Mapping
from typing import Any

from deploy import pooler_host
from deploy.controls.base import APPLY, Control

_TLS_IS_ASKED_FOR = ("require", "verify-ca", "verify-full")


def _pooler(judge: Callable[[Mapping[str, Any]], list[str]]) -> Callable[..., list[str]]:
    """Return a judgement of the PgBouncer; a host without one of ours is well."""

    def violations(state: Mapping[str, Any]) -> list[str]:
        return judge(state["pooler"]) if pooler_host.is_there(state) else []

    return violations


def _answers(found: Mapping[str, Any]) -> list[str]:
    if found["active"] != "active":
        return [f"it is {found['active']}"]
    return [found["problem"]] if found["problem"] else []


def _account(found: Mapping[str, Any]) -> list[str]:
    who = found["runs_as"]
    return [f"it runs as {who}"] if who in ("postgres", "root") else []


def _tls(found: Mapping[str, Any]) -> list[str]:
    values = {name: about["value"] for name, about in found["config"].items()}
    wrong = []
    if values.get("client_tls_sslmode") not in _TLS_IS_ASKED_FOR:
        wrong.append(f"client_tls_sslmode is {values.get('client_tls_sslmode')}")
    if values.get("server_tls_sslmode") != "verify-full":
        wrong.append(f"server_tls_sslmode is {values.get('server_tls_sslmode')}")
    return wrong


def _reset(found: Mapping[str, Any]) -> list[str]:
    return [found["lingers"]] if found["lingers"] else []


_POOLER = "https://www.pgbouncer.org/"

CONTROLS = (
    Control("pooler.answers", "the pooler answers, where there is one", APPLY,
            _POOLER + "usage.html", _pooler(_answers)),
    Control("pooler.account", "the pooler is not postgres, whom the server believes", APPLY,
            "auth-peer.html", _pooler(_account)),
    Control("pooler.tls", "the pooler asks for TLS and verifies the server", APPLY,
            _POOLER + "config.html#tls-settings", _pooler(_tls)),
    Control("pooler.reset", "no role or setting of one client reaches the next (tried)", APPLY,
            _POOLER + "config.html#server_reset_query", _pooler(_reset)),
)  # fmt: skip
