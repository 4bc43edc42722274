-- Of each role the active user who sees the most cases. A chair sees all: the first one will do.
WITH cases_of AS (
    SELECT c.created_by AS user_id, count(*) AS cases FROM public.cases AS c GROUP BY c.created_by
    UNION ALL
    SELECT c.assigned_to, count(*) FROM public.cases AS c
    WHERE c.assigned_to IS NOT NULL GROUP BY c.assigned_to
)
SELECT DISTINCT ON (u.role) u.id, u.email, u.role
FROM public.users AS u
LEFT JOIN cases_of AS n ON n.user_id = u.id
WHERE u.is_active
ORDER BY u.role, n.cases DESC NULLS LAST, u.email
