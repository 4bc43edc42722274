-- Loses every comment; the log keeps that there were some.
DROP FUNCTION public.erase_case(uuid);
DROP FUNCTION public.erase_comment(uuid);
DROP FUNCTION public.comment_on_case(uuid, text);
DROP TABLE public.case_comments;
DROP FUNCTION audit.guard_comment();
DROP FUNCTION audit.log_comment();
REVOKE UPDATE (title, description) ON public.cases FROM case_lookup;
REVOKE ALL ON public.case_documents FROM case_lookup;
