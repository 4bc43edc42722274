-- Holds everybody while all rows are read.
ALTER TABLE public.case_logs ADD CONSTRAINT case_logs_login_short CHECK (length(login) <= 63);
