-- How much each caseworker has to do: open cases by status. The idle ones are there too, with 0.
--
-- Counted are the cases that the reader may see: all for a chair, his own for a clerk or caseworker.
--
-- @column user_id uuid
-- @column first_name text
-- @column last_name text
-- @column assigned int8
-- @column in_progress int8
-- @column pending_completion int8
-- @column open int8
-- @budget no sequential scan on cases, case_logs, case_documents
-- @budget at most 20000 buffers

SELECT
    u.id AS user_id, u.first_name, u.last_name,
    coalesce(w.assigned, 0) AS assigned,
    coalesce(w.in_progress, 0) AS in_progress,
    coalesce(w.pending_completion, 0) AS pending_completion,
    coalesce(w.open, 0) AS open
FROM public.users AS u
LEFT JOIN (
    SELECT
        c.assigned_to,
        count(*) FILTER (WHERE c.status = 'ASSIGNED') AS assigned,
        count(*) FILTER (WHERE c.status = 'IN_PROGRESS') AS in_progress,
        count(*) FILTER (WHERE c.status = 'PENDING_COMPLETION') AS pending_completion,
        count(*) AS open
    FROM public.cases AS c
    WHERE c.assigned_to IS NOT NULL
      AND c.status IN ('ASSIGNED', 'IN_PROGRESS', 'PENDING_COMPLETION')
    GROUP BY c.assigned_to
) AS w ON w.assigned_to = u.id
WHERE u.role = 'CASEWORKER'
ORDER BY open DESC, u.last_name, u.first_name, u.id
