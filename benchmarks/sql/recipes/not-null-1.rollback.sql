-- Loses no data.
ALTER TABLE public.case_logs DROP CONSTRAINT IF EXISTS case_logs_details_present;
