-- A caseworker's open cases, newest first. The rule stands in the statement too, so that it returns
-- the same rows without row security.
\set n random(1, :workers)
SELECT w.id AS me FROM bench.workers AS w WHERE w.n = :n \gset
BEGIN;
SELECT public.act_as(:me);
SELECT c.id, c.title, c.status, c.priority, c.created_at, c.updated_at
FROM public.cases AS c
WHERE c.assigned_to = :me AND c.status <> 'COMPLETED'
ORDER BY c.created_at DESC, c.id DESC
LIMIT 50;
COMMIT;
