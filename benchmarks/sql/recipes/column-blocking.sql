-- A default that is computed for each row rewrites them all, and holds everybody.
ALTER TABLE public.case_logs
    ADD COLUMN noted_at timestamptz(3) NOT NULL DEFAULT clock_timestamp();
