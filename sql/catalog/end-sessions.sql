-- End the sessions of two databases; how many were there. The server's own workers give way by themselves.
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))
FROM pg_stat_activity
WHERE datname = ANY (%s) AND backend_type NOT IN ('autovacuum worker', 'parallel worker')
  AND pid <> pg_backend_pid();
