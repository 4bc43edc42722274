-- Loses the users' history, and the salts without which no digest in the log can be checked any more.
DROP TRIGGER users_log ON public.users;
DROP TRIGGER case_documents_log_update ON public.case_documents;
DROP TRIGGER case_documents_log_insert ON public.case_documents;
DROP TRIGGER case_documents_bulk_load ON public.case_documents;
DROP TRIGGER cases_log_update ON public.cases;
DROP TRIGGER cases_log_insert ON public.cases;
DROP TABLE audit.user_logs;
DROP FUNCTION audit.chain_user_log();
DROP FUNCTION audit.log_user();
DROP FUNCTION audit.log_document();
DROP FUNCTION audit.log_case();
DROP FUNCTION audit.actor(uuid);
DROP FUNCTION audit.digest(uuid, text);
DROP TABLE audit.salts;
REVOKE EXECUTE ON FUNCTION public.current_user_id() FROM case_lookup;
