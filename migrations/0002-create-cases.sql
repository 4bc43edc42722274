-- The cases: what the whole system is about.
-- depends: 0001-create-users

-- Domains and not enums for the reason given in 0001-create-users.
CREATE DOMAIN public.case_status AS text;
CREATE DOMAIN public.case_priority AS text;

CREATE TABLE public.cases (
    id          uuid                 NOT NULL DEFAULT public.uuid_v7(),
    title       text                 NOT NULL,
    description text                 NOT NULL,
    status      public.case_status   NOT NULL DEFAULT 'NEW',
    priority    public.case_priority NOT NULL DEFAULT 'MEDIUM',
    created_by  uuid                 NOT NULL,
    assigned_to uuid,
    created_at  timestamptz(3)       NOT NULL DEFAULT now(),
    updated_at  timestamptz(3)       NOT NULL DEFAULT now(),

    CONSTRAINT cases_pkey PRIMARY KEY (id),
    CONSTRAINT cases_created_by_fkey FOREIGN KEY (created_by)
        REFERENCES public.users (id) ON DELETE RESTRICT,
    CONSTRAINT cases_assigned_to_fkey FOREIGN KEY (assigned_to)
        REFERENCES public.users (id) ON DELETE RESTRICT,
    CONSTRAINT case_title_not_empty CHECK (length(trim(title)) > 0),
    -- trim() takes spaces only: a tab or a no-break space would pass.
    CONSTRAINT cases_title_not_blank
        CHECK (title ~ '[^\s\u00A0\u1680\u180E\u2000-\u200D\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]'),
    CONSTRAINT cases_status_known CHECK (
        status IN ('NEW', 'PENDING_REVIEW', 'ASSIGNED', 'IN_PROGRESS', 'PENDING_COMPLETION', 'COMPLETED')
    ),
    CONSTRAINT cases_priority_known CHECK (priority IN ('LOW', 'MEDIUM', 'HIGH', 'URGENT')),
    CONSTRAINT cases_assignee_present
        CHECK (
            assigned_to IS NOT NULL
            OR status NOT IN ('ASSIGNED', 'IN_PROGRESS', 'PENDING_COMPLETION', 'COMPLETED')
        ),
    -- Before its review a case is nobody's: a caseworker would see what no chair has seen.
    CONSTRAINT cases_assignee_after_review
        CHECK (assigned_to IS NULL OR status NOT IN ('NEW', 'PENDING_REVIEW'))
);

COMMENT ON TABLE public.cases IS 'One row a case, from NEW to COMPLETED.';
COMMENT ON COLUMN public.cases.created_by IS 'Never changes.';
COMMENT ON COLUMN public.cases.assigned_to IS 'The caseworker; needed from ASSIGNED on.';
