-- One index for every question that is asked often, and one behind every foreign key.
-- depends: 0004-create-case-documents

-- Not concurrently: the tables are made in the migrations just before and hold nothing yet.
-- squawk-ignore-file require-concurrent-index-creation

-- An index that would be the mere beginning of another (cases.status, cases.assigned_to,
-- case_logs.case_id) is left out: it would be written with every row and never chosen.
CREATE INDEX idx_cases_status_created ON public.cases (status, created_at);
CREATE INDEX idx_cases_assignee_status ON public.cases (assigned_to, status)
    WHERE assigned_to IS NOT NULL;
CREATE INDEX idx_active_cases ON public.cases (status)
    WHERE status IN ('ASSIGNED', 'IN_PROGRESS');
CREATE INDEX idx_pending_assignments ON public.cases (status)
    WHERE status = 'PENDING_REVIEW';

-- Newest first, page by page, with the id to tell equal times apart: for the chair, who sees all
-- cases, for a clerk and for a caseworker.
CREATE INDEX idx_cases_created ON public.cases (created_at DESC, id DESC);
CREATE INDEX idx_cases_creator_created ON public.cases (created_by, created_at DESC, id DESC);
CREATE INDEX idx_cases_assignee_created ON public.cases (assigned_to, created_at DESC, id DESC);

CREATE INDEX idx_case_logs_case_timestamp ON public.case_logs (case_id, "timestamp");
CREATE INDEX idx_case_logs_user ON public.case_logs (user_id);
CREATE INDEX idx_case_logs_timestamp ON public.case_logs ("timestamp" DESC, id DESC);

CREATE INDEX idx_case_documents_case ON public.case_documents (case_id);
CREATE INDEX idx_case_documents_uploader ON public.case_documents (uploaded_by);
