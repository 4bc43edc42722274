-- Reads all rows under a lock that holds neither readers nor writers.
ALTER TABLE public.case_logs VALIDATE CONSTRAINT case_logs_login_short;
