-- Loses no data.
ALTER TABLE public.case_logs ALTER COLUMN noted_at DROP DEFAULT;
