#!/bin/bash
# What the official image's entrypoint promises, as far as docker-compose.yml relies on it.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown -R postgres "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups bash "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    [ -n "$POSTGRES_PASSWORD" ] || { echo "Error: superuser password is not specified." >&2; exit 1; }
    # shellcheck disable=SC2086 # several words, as with the official image
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-}
    printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
    export PGPASSWORD=$POSTGRES_PASSWORD
    # On its socket only: whoever asks over TCP meanwhile is told that nobody is there.
    pg_ctl --wait start -o "${*:2} -c listen_addresses=''"
    psql --quiet --username="$POSTGRES_USER" --dbname=postgres --set=ON_ERROR_STOP=1 \
        --command="CREATE DATABASE \"$POSTGRES_DB\""
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh)
                if [ -x "$file" ]; then
                    "$file"
                else
                    # shellcheck source=/dev/null
                    . "$file"
                fi
                ;;
            *.sql) psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --file="$file" ;;
        esac
    done
    pg_ctl --wait --mode=fast stop
    unset PGPASSWORD
    echo "PostgreSQL init process complete; ready for start up."
fi
exec "$@"
