-- Looks every row up under locks that hold neither readers nor writers.
ALTER TABLE public.case_logs VALIDATE CONSTRAINT case_logs_user_again_fkey;
