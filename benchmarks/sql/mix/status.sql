-- He moves one of his cases on, or back.
\set n random(1, :work)
SELECT w.case_id AS case_id, w.worker AS me FROM bench.work AS w WHERE w.n = :n \gset
BEGIN;
SELECT public.act_as(:me);
UPDATE public.cases AS c
SET status = CASE c.status WHEN 'IN_PROGRESS' THEN 'PENDING_COMPLETION' ELSE 'IN_PROGRESS' END
WHERE c.id = :case_id AND c.assigned_to = :me;
COMMIT;
