-- Holds writers of both tables, but only for a moment: old rows are not read.
ALTER TABLE public.case_logs
    ADD CONSTRAINT case_logs_user_again_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE RESTRICT NOT VALID;
