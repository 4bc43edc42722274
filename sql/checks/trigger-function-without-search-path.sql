-- A trigger function has no search_path of its own.
-- pg_restore runs triggers with an empty one: a restore of the data fails, or stays without what the trigger does.
-- hint: ALTER FUNCTION ... SET search_path = '', and write every name with its schema.
SELECT f.oid::regprocedure::text, string_agg(DISTINCT t.tgrelid::regclass::text, ', ')
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS f ON f.oid = t.tgfoid
JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
WHERE NOT t.tgisinternal AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM unnest(f.proconfig) AS setting WHERE setting LIKE 'search_path=%')
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
  )
GROUP BY f.oid;
