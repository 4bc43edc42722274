SELECT c.id, c.title, c.description, c.status, c.priority, c.created_at, c.updated_at
FROM public.cases AS c WHERE c.id = %s AND c.assigned_to = %s
