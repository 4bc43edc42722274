-- transactional: false
-- Loses no data, only speed.
DROP INDEX CONCURRENTLY public.idx_case_logs_login;
