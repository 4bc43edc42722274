ALTER TABLE public.case_logs ENABLE ALWAYS TRIGGER case_logs_chain;
DROP TRIGGER unchained ON public.case_logs
