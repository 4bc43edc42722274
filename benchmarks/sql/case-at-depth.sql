-- The case that so many newer ones stand before.
SELECT c.created_at, c.id FROM public.cases AS c ORDER BY c.created_at DESC, c.id DESC OFFSET %s LIMIT 1
