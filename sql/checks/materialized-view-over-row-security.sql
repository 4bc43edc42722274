-- A materialized view keeps a copy of rows that row security protects.
-- It has no row security of its own: whoever may read it reads all that its owner saw.
-- hint: Use a view with security_invoker, or a table with its own policies.
SELECT DISTINCT format('%I.%I', n.nspname, v.relname), 'copies ' || c.oid::regclass
FROM pg_catalog.pg_class AS v
JOIN pg_catalog.pg_namespace AS n ON n.oid = v.relnamespace
JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = v.oid
JOIN pg_catalog.pg_depend AS d
    ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> v.oid
JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid
WHERE v.relkind = 'm' AND c.relrowsecurity;
