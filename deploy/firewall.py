"""Who may reach the server's port and its pooler's, as rules of nftables. Pure.

The rules are a table of their own and speak of these ports alone. Whatever they say, they
lock nobody out of SSH, and they live beside the rules that others keep.
"""

from collections.abc import Sequence
from ipaddress import ip_network

TABLE = "inet casedb"
RULES_FILE = "/etc/casedb/firewall.nft"
UNIT = "casedb-firewall.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
LOADED_FILE = "/run/casedb-firewall.loaded"
"""What nft itself said of the table when it was loaded: a rule changed since is drift."""

UNIT_TEXT = f"""\
# Written by casedb; a change made here is put back.
[Unit]
Description=Who may reach PostgreSQL's port (casedb)
Documentation=man:nft(8)
# Before the network: there is no moment without rules.
Before=network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {RULES_FILE}
ExecStartPost=/bin/sh -c "umask 077; /usr/sbin/nft list table {TABLE} >{LOADED_FILE}"
ExecReload=/usr/sbin/nft -f {RULES_FILE}
ExecStop=/usr/sbin/nft delete table {TABLE}

[Install]
WantedBy=multi-user.target
"""


def rules(ports: Sequence[int], networks: Sequence[str]) -> str:
    """Return the rules: `ports` for this machine and for clients in `networks`, for nobody else.

    Raises:
        ValueError: one of them is no network such as 10.0.0.0/8.
    """
    parsed = [ip_network(network) for network in networks]
    lines = ["        iif lo accept", "        ct state established,related accept"]
    for port in ports:
        for version, word in ((4, "ip"), (6, "ip6")):
            if of_version := [str(network) for network in parsed if network.version == version]:
                lines.append(
                    f"        tcp dport {port} {word} saddr {{ {', '.join(of_version)} }} accept"
                )
        lines.append(f"        tcp dport {port} drop")
    body = "\n".join(lines)
    # Declared, deleted and made anew in one transaction: there is no moment without rules.
    return (
        "# Written by casedb; a change made here is put back.\n"
        f"table {TABLE}\n"
        f"delete table {TABLE}\n"
        f"table {TABLE} {{\n"
        "    chain input {\n"
        "        type filter hook input priority filter; policy accept;\n"
        f"{body}\n"
        "    }\n"
        "}\n"
    )
