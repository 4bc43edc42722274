-- What the named queries of sql/queries/ stand on: pages of open cases, and search by title.
-- depends: 0013-create-case-comments

-- Not concurrently: nothing has been released, the tables are made in the same run.
-- squawk-ignore-file require-concurrent-index-creation

-- Open cases are a small part of all that ever were. Without these a page of them is looked for
-- among everything its reader ever had: 17,000 pages of a busy caseworker instead of 60. The status
-- at the end lets counts by status be made from the index alone.
CREATE INDEX idx_cases_open ON public.cases (created_at DESC, id DESC)
    WHERE status <> 'COMPLETED';
CREATE INDEX idx_cases_open_creator ON public.cases (created_by, created_at DESC, id DESC, status)
    WHERE status <> 'COMPLETED';
CREATE INDEX idx_cases_open_assignee ON public.cases (assigned_to, created_at DESC, id DESC, status)
    WHERE status <> 'COMPLETED';

-- Words as they are written: titles are in whatever language the office speaks.
CREATE INDEX idx_cases_title_words ON public.cases
    USING gin (to_tsvector('pg_catalog.simple', title));

-- Search is a function because @@ is not leakproof: row security would first read every visible case
-- and only then compare its title. So the words are looked up as a role that row security does not
-- bind, with the rule of the policies written out; whoever joins the ids to public.cases is under
-- the policies themselves once more. plpgsql plans for the very words, common or rare.
CREATE FUNCTION public.find_cases(
    words text, page_size integer, after_time timestamptz, after_id uuid
)
RETURNS TABLE (case_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50
SET search_path = ''
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    wanted CONSTANT tsquery := websearch_to_tsquery('pg_catalog.simple', words);
    until_time CONSTANT timestamptz := coalesce(after_time, 'infinity');
    until_id CONSTANT uuid := coalesce(after_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    me CONSTANT uuid := public.current_user_id();
    -- current_user is this function's owner; the caller is in the setting, or else who logged in.
    caller CONSTANT text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    is_exempt CONSTANT boolean := (
        SELECT r.rolsuper OR r.rolbypassrls FROM pg_catalog.pg_roles AS r WHERE r.rolname = caller
    );
BEGIN
    IF is_exempt OR (caller = 'case_chair' AND me IS NOT NULL) THEN
        RETURN QUERY
        SELECT c.id FROM public.cases AS c
        WHERE to_tsvector('pg_catalog.simple', c.title) @@ wanted
          AND (c.created_at, c.id) < (until_time, until_id)
        ORDER BY c.created_at DESC, c.id DESC LIMIT page_size;
    ELSIF caller = 'case_clerk' THEN
        RETURN QUERY
        SELECT c.id FROM public.cases AS c
        WHERE to_tsvector('pg_catalog.simple', c.title) @@ wanted AND c.created_by = me
          AND (c.created_at, c.id) < (until_time, until_id)
        ORDER BY c.created_at DESC, c.id DESC LIMIT page_size;
    ELSIF caller = 'case_caseworker' THEN
        RETURN QUERY
        SELECT c.id FROM public.cases AS c
        WHERE to_tsvector('pg_catalog.simple', c.title) @@ wanted AND c.assigned_to = me
          AND (c.created_at, c.id) < (until_time, until_id)
        ORDER BY c.created_at DESC, c.id DESC LIMIT page_size;
    END IF;
END
$$;

COMMENT ON FUNCTION public.find_cases(text, integer, timestamptz, uuid) IS
    'Ids of the caller''s cases whose title has these words, newest first.';
ALTER FUNCTION public.find_cases(text, integer, timestamptz, uuid) OWNER TO case_lookup;
GRANT EXECUTE ON FUNCTION public.find_cases(text, integer, timestamptz, uuid)
    TO case_clerk, case_chair, case_caseworker, case_readonly;
