-- Everybody may create objects in a schema.
-- Whoever creates a function or table there can be found by others' search_path before the right one.
-- hint: REVOKE CREATE ON SCHEMA ... FROM PUBLIC.
SELECT quote_ident(n.nspname), NULL
FROM pg_catalog.pg_namespace AS n
CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND a.grantee = 0 AND a.privilege_type = 'CREATE';
