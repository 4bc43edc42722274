-- From now on every new row has its own; the old ones keep the constant.
ALTER TABLE public.case_logs ALTER COLUMN noted_at SET DEFAULT clock_timestamp();
