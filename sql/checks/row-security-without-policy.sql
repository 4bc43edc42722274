-- Row security is on, and the table has no policy.
-- Nobody but superusers and roles with BYPASSRLS sees a row: either it was forgotten, or a REVOKE says it better.
-- hint: CREATE POLICY for each role that should see something, or leave row security off and grant nothing.
SELECT format('%I.%I', n.nspname, c.relname), NULL
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relrowsecurity
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid);
