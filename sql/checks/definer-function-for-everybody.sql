-- A function that runs with its owner's rights may be called by everybody.
-- PostgreSQL grants EXECUTE on a new function to PUBLIC, and nobody decided that here.
-- hint: REVOKE EXECUTE ON FUNCTION ... FROM PUBLIC, and grant it to those who need it.
SELECT f.oid::regprocedure::text, 'owner: ' || f.proowner::regrole
FROM pg_catalog.pg_proc AS f
JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
CROSS JOIN LATERAL aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS a
WHERE f.prosecdef AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND a.grantee = 0 AND a.privilege_type = 'EXECUTE'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
  );
