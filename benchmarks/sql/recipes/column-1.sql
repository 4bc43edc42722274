-- A constant default is remembered once, and no row is rewritten.
ALTER TABLE public.case_logs
    ADD COLUMN noted_at timestamptz(3) NOT NULL DEFAULT '2026-01-01T00:00:00Z';
