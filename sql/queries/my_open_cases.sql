-- My open cases, newest first, a page at a time: a clerk's are those he created, a caseworker's those
-- assigned to him, a chair's are all of them.
--
-- @param {Int} $1:page_size Rows on a page.
-- @param {DateTime} $2:after_time? The created_at of the last row of the page before; none: from the top.
-- @param {String} $3:after_id? The id of that row: equal times are told apart by it.
-- @default page_size 50
-- @next after_time created_at
-- @next after_id id
-- @column id uuid
-- @column title text
-- @column status text
-- @column priority text
-- @column created_by uuid
-- @column assigned_to uuid
-- @column created_at timestamptz
-- @column updated_at timestamptz
-- @budget no sequential scan on cases, case_logs, case_documents
-- @budget at most 150 buffers

SELECT
    c.id, c.title, c.status, c.priority, c.created_by, c.assigned_to, c.created_at, c.updated_at
FROM public.cases AS c
WHERE c.status <> 'COMPLETED'
  -- One comparison of two columns, which an index can seek; OR would read it from its start.
  AND (c.created_at, c.id) < (
      coalesce($2::timestamptz, 'infinity'),
      coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  )
ORDER BY c.created_at DESC, c.id DESC
LIMIT $1
