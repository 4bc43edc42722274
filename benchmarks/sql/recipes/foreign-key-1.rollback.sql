-- Loses no data.
ALTER TABLE public.case_logs DROP CONSTRAINT case_logs_user_again_fkey;
