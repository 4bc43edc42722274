-- How old the open cases are, for each status: counted from the day the case was created.
--
-- @column status text
-- @column cases int8
-- @column up_to_7_days int8
-- @column up_to_30_days int8
-- @column up_to_90_days int8
-- @column older int8
-- @column oldest timestamptz
-- @budget no sequential scan on cases, case_logs, case_documents
-- @budget at most 20000 buffers

-- (SELECT ...): reckoned once and not for every row.
SELECT
    c.status,
    count(*) AS cases,
    count(*) FILTER (WHERE c.created_at > (SELECT now() - interval '7 days')) AS up_to_7_days,
    count(*) FILTER (
        WHERE c.created_at > (SELECT now() - interval '30 days')
          AND c.created_at <= (SELECT now() - interval '7 days')
    ) AS up_to_30_days,
    count(*) FILTER (
        WHERE c.created_at > (SELECT now() - interval '90 days')
          AND c.created_at <= (SELECT now() - interval '30 days')
    ) AS up_to_90_days,
    count(*) FILTER (WHERE c.created_at <= (SELECT now() - interval '90 days')) AS older,
    min(c.created_at) AS oldest
FROM public.cases AS c
-- Named one by one, for an index to seek; "not completed" can only filter.
WHERE c.status IN ('NEW', 'PENDING_REVIEW', 'ASSIGNED', 'IN_PROGRESS', 'PENDING_COMPLETION')
GROUP BY c.status
ORDER BY array_position(
    ARRAY['NEW', 'PENDING_REVIEW', 'ASSIGNED', 'IN_PROGRESS', 'PENDING_COMPLETION'], c.status::text
)
