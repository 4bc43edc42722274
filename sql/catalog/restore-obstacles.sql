-- What keeps a database's name, or would go on under it: each has to be settled by somebody first.
SELECT 'prepared transaction' AS kind, gid AS name FROM pg_prepared_xacts WHERE database = %(name)s
UNION ALL
SELECT 'replication slot', slot_name::text FROM pg_replication_slots WHERE database = %(name)s
UNION ALL
SELECT 'subscription', s.subname::text
FROM pg_subscription AS s
JOIN pg_database AS d ON d.oid = s.subdbid
WHERE d.datname = %(name)s
ORDER BY 1, 2;
