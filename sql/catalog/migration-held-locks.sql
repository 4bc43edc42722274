-- The locks that this transaction holds on tables and views of the application.
SELECT l.relation::bigint, l.mode
FROM pg_catalog.pg_locks AS l
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database());
