-- A policy stands on a table whose row security is switched off.
-- It looks like protection and is none: everybody with the right to read sees every row.
-- hint: ALTER TABLE ... ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY.
SELECT format('%I.%I', n.nspname, c.relname), string_agg(p.polname, ', ' ORDER BY p.polname)
FROM pg_catalog.pg_policy AS p
JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT c.relrowsecurity
GROUP BY 1;
