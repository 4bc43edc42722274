-- Loses no data, only speed.
DROP INDEX public.idx_case_documents_uploader;
DROP INDEX public.idx_case_documents_case;
DROP INDEX public.idx_case_logs_timestamp;
DROP INDEX public.idx_case_logs_user;
DROP INDEX public.idx_case_logs_case_timestamp;
DROP INDEX public.idx_cases_assignee_created;
DROP INDEX public.idx_cases_creator_created;
DROP INDEX public.idx_cases_created;
DROP INDEX public.idx_pending_assignments;
DROP INDEX public.idx_active_cases;
DROP INDEX public.idx_cases_assignee_status;
DROP INDEX public.idx_cases_status_created;
