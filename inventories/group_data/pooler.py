"""Hosts of group `pooler`, beside whatever other group they are in: PgBouncer before the server."""

pooler = True
