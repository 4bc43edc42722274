-- A policy calls a function without arguments directly, and no index can spare the call.
-- Then it is called for every row; wrapped as (SELECT f()), once a query.
-- hint: Write (SELECT f()) in the policy; or column = f(), with f one STABLE SQL expression without FROM, SET and SECURITY DEFINER.
WITH expressions AS (
    SELECT p.oid, p.polrelid, p.polname, e.text
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
    SELECT oid, polrelid, polname,
        regexp_replace(text, '\( SELECT [\w."]+\((?:''[^'']*''::text(?:, (?:true|false))?)?\)(?:::[\w."]+)?(?: AS [\w"]+)?\)', '', 'g') AS text
    FROM expressions
),
-- Compared with a column, such a call is best left unwrapped: replaced by its body (see inline_function() in
-- clauses.c), it tells the planner how many rows are meant. Without a column it is asked for every row all the same.
inlined AS (
    SELECT d.objid AS policy, f.proname, n.nspname
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_proc AS f ON f.oid = d.refobjid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    JOIN pg_catalog.pg_language AS l ON l.oid = f.prolang
    WHERE d.classid = 'pg_catalog.pg_policy'::regclass
      AND d.refclassid = 'pg_catalog.pg_proc'::regclass
      AND l.lanname = 'sql' AND f.prokind = 'f' AND f.provolatile <> 'v'
      AND NOT f.prosecdef AND NOT f.proretset AND f.proconfig IS NULL
      -- One expression: whatever reads a table is a query of its own for every row.
      AND coalesce(pg_catalog.pg_get_function_sqlbody(f.oid), f.prosrc) !~* '\m(from|with|values|union|limit)\M|;\s*\S'
)
SELECT DISTINCT
    format('%I.%I', n.nspname, c.relname),
    format('policy %I calls %s() for every row', u.polname, found[2])
FROM unwrapped AS u
JOIN pg_catalog.pg_class AS c ON c.oid = u.polrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL regexp_matches(
    u.text, '([a-z_"][\w."]* = )?([\w."]+)\((?:''[^'']*''::text(?:, (?:true|false))?)?\)( = [a-z_"][\w."]*)?', 'g'
) AS found
WHERE lower(found[2]) NOT IN ('now', 'and', 'or', 'not', 'in', 'any', 'exists', 'coalesce')
  AND NOT EXISTS (
      SELECT FROM inlined AS i
      WHERE i.policy = u.oid AND coalesce(found[1], found[3]) IS NOT NULL
        AND found[2] IN (format('%I', i.proname), format('%I.%I', i.nspname, i.proname))
  );
