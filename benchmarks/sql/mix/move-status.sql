UPDATE public.cases AS c
SET status = CASE c.status WHEN 'IN_PROGRESS' THEN 'PENDING_COMPLETION' ELSE 'IN_PROGRESS' END
WHERE c.id = %s AND c.assigned_to = %s
