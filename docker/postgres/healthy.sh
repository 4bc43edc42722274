#!/bin/sh
# Healthy: it answers over TCP, which it does not while it initialises, and init/ ran to its end. A
# failed init leaves a volume that the image takes for a finished one at the next start.
set -eu
PGPASSWORD=$(cat /run/secrets/db_password)
export PGPASSWORD
found=$(psql --no-psqlrc --no-password --tuples-only --no-align --host=127.0.0.1 \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --command="
    SELECT count(*) FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
    WHERE d.datname = current_database() AND s.setrole = 0 AND s.setconfig::text LIKE '%casedb.mark=%'" 2>&1) || {
    echo "$found"
    exit 1
}
[ "$found" = 1 ] || {
    echo "the initialisation did not run to its end; casedb compose reset starts over"
    exit 1
}
