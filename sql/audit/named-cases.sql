-- Of ids known from one to another only: the case that there is, or has a log, if it is the only one between them.
SELECT a.known, min(named.id::text)
FROM unnest(%s::text[], %s::text[]::uuid[], %s::text[]::uuid[]) AS a (known, first, last)
CROSS JOIN LATERAL (
    SELECT c.id FROM public.cases AS c WHERE c.id BETWEEN a.first AND a.last
    UNION
    SELECT l.case_id FROM public.case_logs AS l WHERE l.case_id BETWEEN a.first AND a.last
) AS named
GROUP BY a.known
HAVING count(*) = 1;
