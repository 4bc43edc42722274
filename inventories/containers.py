"""The rehearsal hosts, as `casedb rehearse up` left them; run from the root of the checkout."""

import json
from pathlib import Path

_hosts = Path(".casedb/rehearsal/hosts.json")

containers = [
    (
        found["name"],
        {
            "ssh_hostname": found["address"],
            "ssh_port": found["port"],
            "ssh_user": found["user"],
            "ssh_key": found["key"],
            "ssh_known_hosts_file": found["known_hosts"],
            "ssh_strict_host_key_checking": "yes",
        },
    )
    for found in (json.loads(_hosts.read_text("utf-8")) if _hosts.exists() else [])
]
