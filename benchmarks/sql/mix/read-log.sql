SELECT l.id, l.action, l.details, l."timestamp", l.user_id
FROM public.case_logs AS l WHERE l.case_id = %s ORDER BY l.seq
