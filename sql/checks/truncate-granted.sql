-- Somebody other than the owner may TRUNCATE a table that row security or a trigger protects.
-- TRUNCATE asks no policy: row security and triggers for each row do not see it.
-- hint: REVOKE TRUNCATE ON ... FROM ....
SELECT format('%I.%I', n.nspname, c.relname), 'granted to ' || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND a.privilege_type = 'TRUNCATE' AND a.grantee <> c.relowner
  -- A staging table, which protects nothing, may be emptied by whoever fills it.
  AND (c.relrowsecurity OR EXISTS (
      SELECT FROM pg_catalog.pg_trigger AS t
      WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND (t.tgtype & 40) <> 0
  ));
