"""Production. An example: name your hosts, and say in group_data/production.py what differs.

Hosts are reached as `ssh NAME` reaches them: addresses, users and keys belong into ~/.ssh/config.
"""

production: list[str | tuple[str, dict[str, object]]] = [
    # "db1.example.org",
    # One host's own data beside the group's:
    # ("db2.example.org", {"workload": "mixed"}),
]
# Those of them that have pgAdmin:
# pgadmin = ["db1.example.org"]
