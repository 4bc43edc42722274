-- A view over a table with row security reads it as the view's owner.
-- Row security then asks what the owner may see, and not what the caller may.
-- hint: ALTER VIEW ... SET (security_invoker = true).
SELECT DISTINCT format('%I.%I', n.nspname, v.relname), 'reads ' || c.oid::regclass
FROM pg_catalog.pg_class AS v
JOIN pg_catalog.pg_namespace AS n ON n.oid = v.relnamespace
JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = v.oid
JOIN pg_catalog.pg_depend AS d
    ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> v.oid
JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid
WHERE v.relkind = 'v' AND c.relrowsecurity
  AND NOT EXISTS (
      SELECT FROM unnest(v.reloptions) AS option
      WHERE option IN ('security_invoker=true', 'security_invoker=on', 'security_invoker=1', 'security_invoker=yes')
  );
