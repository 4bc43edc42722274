-- Of ids known from one to another only: the user that there is, or has a log, if it is the only one between them.
SELECT a.known, min(named.id::text)
FROM unnest(%s::text[], %s::text[]::uuid[], %s::text[]::uuid[]) AS a (known, first, last)
CROSS JOIN LATERAL (
    SELECT u.id FROM public.users AS u WHERE u.id BETWEEN a.first AND a.last
    UNION
    SELECT l.user_id FROM audit.user_logs AS l WHERE l.user_id BETWEEN a.first AND a.last
) AS named
GROUP BY a.known
HAVING count(*) = 1;
