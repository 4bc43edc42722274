-- A function runs with its owner's rights and finds its objects by the caller's search_path.
-- Who can create an object anywhere in that path decides what the owner's rights are used for.
-- hint: ALTER FUNCTION ... SET search_path = '', and write every name with its schema.
SELECT f.oid::regprocedure::text, 'owner: ' || f.proowner::regrole
FROM pg_catalog.pg_proc AS f
JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
WHERE f.prosecdef AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM unnest(f.proconfig) AS setting WHERE setting LIKE 'search_path=%')
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
  );
