-- Loses no entry and no hash, but nothing keeps the log from being changed any more.
DROP FUNCTION audit.load_staged_case_logs();
DROP TABLE audit.staged_case_logs;
ALTER TABLE public.users ENABLE TRIGGER users_guard_caseworker;
ALTER TABLE public.cases
    ENABLE TRIGGER cases_bulk_load,
    ENABLE TRIGGER cases_guard_insert,
    ENABLE TRIGGER cases_guard_update;
DROP TRIGGER users_no_truncate ON public.users;
DROP TRIGGER case_documents_no_truncate ON public.case_documents;
DROP TRIGGER cases_no_truncate ON public.cases;
DROP TRIGGER cases_with_log_stay ON public.cases;
DROP TRIGGER case_logs_no_truncate ON public.case_logs;
DROP TRIGGER case_logs_append_only ON public.case_logs;
DROP TRIGGER case_logs_bulk_load ON public.case_logs;
DROP TRIGGER case_logs_chain ON public.case_logs;
DROP FUNCTION audit.refuse_case_removal();
DROP FUNCTION audit.refuse_change();
DROP FUNCTION audit.chain_case_log();
DROP AGGREGATE audit.case_log_chain(uuid, uuid, integer, uuid, text, jsonb, timestamptz, text);
DROP FUNCTION audit.case_log_hash(bytea, uuid, uuid, integer, uuid, text, jsonb, timestamptz, text);
DROP SCHEMA audit;
REVOKE EXECUTE ON FUNCTION public.uuid_v7() FROM case_lookup;
REVOKE UPDATE (updated_at) ON public.cases FROM case_lookup;
REVOKE ALL ON public.case_logs FROM case_lookup;
