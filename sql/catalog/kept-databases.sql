-- The databases that were kept when another took their name, newest first.
SELECT d.datname::text AS name,
       of.value AS of,
       since.value::timestamptz AS since,
       pg_database_size(d.oid) AS size_bytes,
       (SELECT count(*)::int FROM pg_stat_activity AS a WHERE a.datid = d.oid) AS sessions
FROM pg_database AS d
CROSS JOIN LATERAL (
    SELECT substring(setting FROM '^casedb\.kept_of=(.*)$') AS value
    FROM pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS setting
    WHERE s.setdatabase = d.oid AND s.setrole = 0 AND setting LIKE 'casedb.kept\_of=%%'
) AS of
CROSS JOIN LATERAL (
    SELECT substring(setting FROM '^casedb\.kept_at=(.*)$') AS value
    FROM pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS setting
    WHERE s.setdatabase = d.oid AND s.setrole = 0 AND setting LIKE 'casedb.kept\_at=%%'
) AS since
WHERE of.value = %s
ORDER BY since.value::timestamptz DESC, d.datname;
