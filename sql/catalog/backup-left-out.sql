-- Extensions' tables that are no configuration of theirs and not empty on the disk: pg_dump leaves out their rows.
-- Their names, their extensions, and whether the current role may look into them.
SELECT format('%I.%I', n.nspname, c.relname), n.nspname, c.relname, e.extname,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
FROM pg_depend AS d
JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
JOIN pg_class AS c ON c.oid = d.objid AND c.relkind = 'r' AND c.relpersistence <> 't'
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.deptype = 'e'
  AND c.oid <> ALL (coalesce(e.extconfig, '{}'))
  AND pg_relation_size(c.oid) > 0
ORDER BY 1;
