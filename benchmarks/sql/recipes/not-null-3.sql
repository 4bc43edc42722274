-- PostgreSQL sees by the constraint that there is no null, and reads nothing.
ALTER TABLE public.case_logs ALTER COLUMN details SET NOT NULL;
ALTER TABLE public.case_logs DROP CONSTRAINT case_logs_details_present;
