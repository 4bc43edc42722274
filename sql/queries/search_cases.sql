-- My cases whose title has these words, newest first, a page at a time.
--
-- The words are as in a web search: noise lane, "mill lane", noise or smell, noise -lane.
--
-- @param {String} $1:words What to look for.
-- @param {Int} $2:page_size Rows on a page.
-- @param {DateTime} $3:after_time? The created_at of the last row of the page before; none: from the top.
-- @param {String} $4:after_id? The id of that row: equal times are told apart by it.
-- @default page_size 50
-- @sample words SELECT substring(c.title FROM '\w+$') FROM public.cases AS c ORDER BY c.created_at DESC, c.id DESC LIMIT 1
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
-- @budget at most 50000 buffers

SELECT
    c.id, c.title, c.status, c.priority, c.created_by, c.assigned_to, c.created_at, c.updated_at
-- The function finds by its index what row security lets the reader see; see its migration.
FROM public.find_cases($1, $2, $3::timestamptz, $4::uuid) AS f
JOIN public.cases AS c ON c.id = f.case_id
ORDER BY c.created_at DESC, c.id DESC
