-- A chair gives a case to another caseworker.
\set n random(:first_moved, :last_moved)
\set m random(1, :workers)
\set k random(1, :chairs)
SELECT w.case_id AS case_id FROM bench.work AS w WHERE w.n = :n \gset
SELECT w.id AS other FROM bench.workers AS w WHERE w.n = :m \gset
SELECT c.id AS me FROM bench.chairs AS c WHERE c.n = :k \gset
BEGIN;
SELECT public.act_as(:me);
SELECT c.assigned_to AS worker FROM public.cases AS c WHERE c.id = :case_id FOR UPDATE \gset
SELECT public.reassign_case(:case_id, :worker, :other);
COMMIT;
