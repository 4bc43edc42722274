-- In a clone of the cases: who is at work on what, by number, for scripts that draw numbers.
CREATE SCHEMA bench;
CREATE TABLE bench.workers AS
SELECT row_number() OVER (ORDER BY u.id)::integer AS n, u.id
FROM public.users AS u WHERE u.role = 'CASEWORKER' AND u.is_active;
CREATE TABLE bench.chairs AS
SELECT row_number() OVER (ORDER BY u.id)::integer AS n, u.id
FROM public.users AS u WHERE u.role = 'CHAIR' AND u.is_active;
CREATE TABLE bench.work AS
SELECT row_number() OVER (ORDER BY md5(c.id::text))::integer AS n, c.id AS case_id,
       c.assigned_to AS worker
FROM public.cases AS c
JOIN bench.workers AS w ON w.id = c.assigned_to
WHERE c.status IN ('IN_PROGRESS', 'PENDING_COMPLETION');
ALTER TABLE bench.workers ADD PRIMARY KEY (n);
ALTER TABLE bench.chairs ADD PRIMARY KEY (n);
ALTER TABLE bench.work ADD PRIMARY KEY (n);
GRANT USAGE ON SCHEMA bench TO case_app;
GRANT SELECT ON ALL TABLES IN SCHEMA bench TO case_app;
-- There and back again, so that a script never comes to the end of its cases.
INSERT INTO ops.case_transitions (from_status, to_status, role)
VALUES ('PENDING_COMPLETION', 'IN_PROGRESS', 'CASEWORKER');
ANALYZE
