-- Loses no data, only speed.
DROP INDEX public.idx_case_logs_login;
