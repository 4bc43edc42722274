-- transactional: false
-- Waits for writers instead of holding them; alone in its file.
CREATE INDEX CONCURRENTLY idx_case_logs_login ON public.case_logs (login);
