-- The triggers that keep the trail and are missing, switched off, or not ENABLE ALWAYS.
SELECT w.tab || '.' || w.trigger
FROM (VALUES
    ('public.cases', 'cases_bulk_load'), ('public.cases', 'cases_guard_insert'),
    ('public.cases', 'cases_guard_update'), ('public.cases', 'cases_log_insert'),
    ('public.cases', 'cases_log_update'), ('public.cases', 'cases_with_log_stay'),
    ('public.cases', 'cases_no_truncate'),
    ('public.case_logs', 'case_logs_chain'), ('public.case_logs', 'case_logs_bulk_load'),
    ('public.case_logs', 'case_logs_append_only'), ('public.case_logs', 'case_logs_no_truncate'),
    ('public.case_documents', 'case_documents_bulk_load'),
    ('public.case_documents', 'case_documents_log_insert'),
    ('public.case_documents', 'case_documents_log_update'),
    ('public.case_documents', 'case_documents_no_truncate'),
    ('public.case_comments', 'case_comments_guard'), ('public.case_comments', 'case_comments_log'),
    ('public.case_comments', 'case_comments_stay'),
    ('public.case_comments', 'case_comments_no_truncate'),
    ('public.users', 'users_log'), ('public.users', 'users_guard_caseworker'),
    ('public.users', 'users_no_truncate'),
    ('audit.user_logs', 'user_logs_chain'), ('audit.user_logs', 'user_logs_append_only'),
    ('audit.user_logs', 'user_logs_no_truncate')
) AS w (tab, trigger)
WHERE NOT EXISTS (
    SELECT FROM pg_trigger AS t
    WHERE t.tgrelid = to_regclass(w.tab) AND t.tgname = w.trigger AND t.tgenabled = 'A'
)
ORDER BY 1;
