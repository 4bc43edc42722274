-- The tables this session holds an ACCESS SHARE lock on.
SELECT relation::bigint
FROM pg_locks
WHERE locktype = 'relation' AND pid = pg_backend_pid() AND granted AND mode = 'AccessShareLock'
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
