-- Holds every writer for as long as the index takes.
CREATE INDEX idx_case_logs_login ON public.case_logs (login);
