-- The chair's review queue: what waits for somebody to assign it, longest first, a page at a time.
--
-- @param {Int} $1:page_size Rows on a page.
-- @param {DateTime} $2:after_time? The created_at of the last row of the page before; none: from the top.
-- @param {String} $3:after_id? The id of that row: equal times are told apart by it.
-- @default page_size 50
-- @next after_time created_at
-- @next after_id id
-- @column id uuid
-- @column title text
-- @column priority text
-- @column created_by uuid
-- @column creator_first_name text
-- @column creator_last_name text
-- @column created_at timestamptz
-- @budget no sequential scan on cases, case_logs, case_documents
-- @budget at most 400 buffers

SELECT
    c.id, c.title, c.priority, c.created_by,
    creator.first_name AS creator_first_name, creator.last_name AS creator_last_name,
    c.created_at
FROM (
    -- The page first, then the names: a join may not make the planner read the whole queue.
    SELECT q.id, q.title, q.priority, q.created_by, q.created_at
    FROM public.cases AS q
    WHERE q.status = 'PENDING_REVIEW'
      AND (q.created_at, q.id) > (
          coalesce($2::timestamptz, '-infinity'),
          coalesce($3::uuid, '00000000-0000-0000-0000-000000000000')
      )
    ORDER BY q.created_at, q.id
    LIMIT $1
) AS c
LEFT JOIN public.users AS creator ON creator.id = c.created_by
ORDER BY c.created_at, c.id
