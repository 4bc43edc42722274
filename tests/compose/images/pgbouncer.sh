#!/bin/sh
set -eu
sed /^max_prepared_statements/d "$1" >/tmp/pgbouncer.ini
exec /usr/sbin/pgbouncer /tmp/pgbouncer.ini
