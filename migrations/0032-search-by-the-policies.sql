-- Search reads the policies instead of repeating their rule.
-- depends: 0031-show-policies-to-the-planner

-- As before: @@ is not leakproof, so the words are looked up as a role that row security does not bind,
-- and whoever joins the ids to public.cases is under the policies once more. The condition is now the
-- policies' own text, as PostgreSQL keeps it: a policy that changes is a search that changes.
-- EXECUTE plans for the very words, common or rare.
CREATE OR REPLACE FUNCTION public.find_cases(
    words text, page_size integer, after_time timestamptz, after_id uuid
)
RETURNS TABLE (case_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50
SET search_path = ''
AS $$
DECLARE
    -- current_user is this function's owner; the caller is in the setting, or else who logged in.
    caller CONSTANT text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    visible CONSTANT text := (
        SELECT CASE
            WHEN r.rolsuper OR r.rolbypassrls THEN 'true'
            -- No policy, no row. A restrictive one takes away what the others give.
            ELSE (
                SELECT concat_ws(
                    ' AND ',
                    coalesce('(' || string_agg(x.rule, ' OR ') FILTER (WHERE x.polpermissive) || ')', 'false'),
                    string_agg(x.rule, ' AND ') FILTER (WHERE NOT x.polpermissive)
                )
                FROM (
                    SELECT p.polpermissive, format('(%s)', pg_get_expr(p.polqual, p.polrelid)) AS rule
                    FROM pg_catalog.pg_policy AS p
                    WHERE p.polrelid = 'public.cases'::regclass AND p.polcmd IN ('r', '*')
                      AND EXISTS (
                          SELECT FROM unnest(p.polroles) AS bound (role)
                          WHERE bound.role = 0 OR pg_has_role(r.oid, bound.role, 'USAGE')
                      )
                ) AS x
            )
        END
        FROM pg_catalog.pg_roles AS r WHERE r.rolname = caller
    );
BEGIN
    -- The policies name columns without their table: this one is the only one here.
    RETURN QUERY EXECUTE format(
        $query$
        SELECT id FROM public.cases
        WHERE to_tsvector('pg_catalog.simple', title) @@ websearch_to_tsquery('pg_catalog.simple', $1)
          AND (created_at, id) < ($3, $4)
          AND (%s)
        ORDER BY created_at DESC, id DESC LIMIT $2
        $query$,
        visible
    )
    USING words, page_size, coalesce(after_time, 'infinity'),
          coalesce(after_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
END
$$;
