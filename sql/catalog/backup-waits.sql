-- Who keeps the sessions of one application name from going on, and the relation they fight over.
SELECT blocker.application_name, blocker.pid, blocker.usename,
       coalesce((
           SELECT l.relation::regclass::text
           FROM pg_locks AS l
           WHERE l.pid = waiting.pid AND NOT l.granted AND l.locktype = 'relation'
           LIMIT 1
       ), 'another lock')
FROM pg_stat_activity AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS b (pid)
LEFT JOIN pg_stat_activity AS blocker ON blocker.pid = b.pid
WHERE waiting.datname = current_database() AND waiting.application_name = %s
ORDER BY blocker.xact_start
LIMIT 1;
