#!/bin/sh
# Makes the roles, gives those that log in their passwords, marks the database. Runs once, while the
# image initialises an empty volume; the server then listens on its socket only.
set -eu

sql() {
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" "$@"
}

logins="case_migrator case_app case_seed case_backup case_readonly case_monitor case_pooler"

for secret in db_password $logins; do
    if [ "$(wc -c <"/run/secrets/$secret")" -lt 16 ]; then
        echo "10-roles.sh: the password in secret $secret is shorter than 16 characters." >&2
        echo "10-roles.sh: Remove this stack with its data, delete .env, and run make env." >&2
        exit 1
    fi
done

for file in /sql/roles/*.sql; do
    sql --file="$file"
done

for role in $logins; do
    # From file to server without an argument list; and a statement that failed would be logged.
    sql <<STATEMENTS
SET log_min_error_statement = panic;
SET log_statement = none;
\\set password \`cat /run/secrets/$role\`
ALTER ROLE $role PASSWORD :'password';
STATEMENTS
done

# Last: what the health check looks for. Whoever is interrupted before has no healthy container.
sql --command="ALTER DATABASE $POSTGRES_DB SET casedb.mark = 'development'"
