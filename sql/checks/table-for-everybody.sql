-- Everybody may read or change a table or view.
-- A right granted to PUBLIC reaches every role of the server that can connect, today and later.
-- hint: REVOKE ALL ON ... FROM PUBLIC, and grant to the roles that need it.
SELECT format('%I.%I', n.nspname, c.relname), string_agg(DISTINCT a.privilege_type, ', ')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND a.grantee = 0
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  )
GROUP BY 1;
