-- One of his cases with its log.
\set n random(1, :work)
SELECT w.case_id AS case_id, w.worker AS me FROM bench.work AS w WHERE w.n = :n \gset
BEGIN;
SELECT public.act_as(:me);
SELECT c.id, c.title, c.description, c.status, c.priority, c.created_at, c.updated_at
FROM public.cases AS c WHERE c.id = :case_id AND c.assigned_to = :me;
SELECT l.id, l.action, l.details, l."timestamp", l.user_id
FROM public.case_logs AS l WHERE l.case_id = :case_id ORDER BY l.seq;
COMMIT;
