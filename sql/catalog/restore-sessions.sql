-- Who is connected to a database, by role, program and address; the server's own workers left out.
SELECT usename::text AS role,
       coalesce(nullif(application_name, ''), 'unnamed') AS program,
       coalesce(client_addr::text, 'local') AS address,
       count(*)::int AS sessions,
       (count(*) FILTER (WHERE state <> 'idle'))::int AS busy
FROM pg_stat_activity
WHERE datname = %s AND backend_type = 'client backend' AND pid <> pg_backend_pid()
GROUP BY 1, 2, 3
ORDER BY 4 DESC, 1, 2, 3;
