-- Loses the column.
ALTER TABLE public.case_logs DROP COLUMN noted_at;
