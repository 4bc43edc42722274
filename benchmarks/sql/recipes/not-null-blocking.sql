-- Holds everybody while all rows are read.
ALTER TABLE public.case_logs ALTER COLUMN details SET NOT NULL;
