-- One case's log, oldest entry first, with the names of those who acted.
SELECT l.seq, l."timestamp", l.action, l.details, l.login, l.user_id,
       u.first_name || ' ' || u.last_name, u.role::text
FROM public.case_logs AS l
JOIN public.users AS u ON u.id = l.user_id
WHERE l.case_id = %s
ORDER BY l.seq;
