-- The settings of one database itself, our own and all others, as NAME=VALUE.
SELECT setting
FROM pg_db_role_setting AS s
JOIN pg_database AS d ON d.oid = s.setdatabase
CROSS JOIN unnest(s.setconfig) AS setting
WHERE d.datname = %s AND s.setrole = 0;
