-- Who holds, or queues for, a lock on a table of this database that lets nobody read it.
SELECT a.application_name, a.pid, a.usename, c.oid::regclass::text, a.xact_start
FROM pg_locks AS l
JOIN pg_stat_activity AS a USING (pid)
JOIN pg_class AS c ON c.oid = l.relation
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relkind IN ('r', 'p') AND l.pid <> pg_backend_pid()
ORDER BY l.granted DESC, a.xact_start
LIMIT 1;
