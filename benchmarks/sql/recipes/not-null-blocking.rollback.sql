-- Loses no data.
ALTER TABLE public.case_logs ALTER COLUMN details DROP NOT NULL;
