-- The mark of a database (null: the connected one), from the catalog and not from the session.
SELECT substring(setting FROM '^casedb\.mark=(.*)$')
FROM pg_db_role_setting AS s
JOIN pg_database AS d ON d.oid = s.setdatabase
CROSS JOIN unnest(s.setconfig) AS setting
WHERE d.datname = coalesce(%s, current_database()) AND s.setrole = 0
  AND setting LIKE 'casedb.mark=%%';
