"""Staging. An example: name your hosts, and say in group_data/staging.py what differs.

Hosts are reached as `ssh NAME` reaches them: addresses, users and keys belong into ~/.ssh/config.
"""

staging: list[str | tuple[str, dict[str, object]]] = [
    # "db1.staging.example.org",
]
