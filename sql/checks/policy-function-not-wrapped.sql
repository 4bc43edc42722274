-- A policy calls a function without arguments directly, and not as (SELECT f()).
-- Then it is called for every row; wrapped, once a query.
-- hint: Write (SELECT f()) in the policy.
WITH expressions AS (
    SELECT p.polrelid, p.polname, e.text
    FROM pg_catalog.pg_policy AS p
    CROSS JOIN LATERAL (
        VALUES
            (pg_catalog.pg_get_expr(p.polqual, p.polrelid)),
            (pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
    ) AS e (text)
    WHERE e.text IS NOT NULL
),
-- PostgreSQL prints what is wrapped as ( SELECT f() AS f).
unwrapped AS (
    SELECT polrelid, polname,
        regexp_replace(text, '\( SELECT [\w."]+\((?:''[^'']*''::text(?:, (?:true|false))?)?\)(?:::[\w."]+)?(?: AS [\w"]+)?\)', '', 'g') AS text
    FROM expressions
)
SELECT DISTINCT
    format('%I.%I', n.nspname, c.relname),
    format('policy %I calls %s() for every row', u.polname, found[1])
FROM unwrapped AS u
JOIN pg_catalog.pg_class AS c ON c.oid = u.polrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL regexp_matches(u.text, '([\w."]+)\((?:''[^'']*''::text(?:, (?:true|false))?)?\)', 'g') AS found
WHERE lower(found[1]) NOT IN ('now', 'and', 'or', 'not', 'in', 'any', 'exists', 'coalesce');
