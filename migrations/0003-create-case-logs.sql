-- The permanent record of everything that happens to a case.
-- depends: 0002-create-cases

CREATE TABLE public.case_logs (
    id          uuid           NOT NULL DEFAULT gen_random_uuid(),
    case_id     uuid           NOT NULL,
    user_id     uuid           NOT NULL,
    action      text           NOT NULL,
    details     jsonb,
    "timestamp" timestamptz(3) NOT NULL DEFAULT now(),

    CONSTRAINT case_logs_pkey PRIMARY KEY (id),
    -- RESTRICT, never CASCADE: the record outlives every wish to delete what it is about.
    CONSTRAINT case_logs_case_id_fkey FOREIGN KEY (case_id)
        REFERENCES public.cases (id) ON DELETE RESTRICT,
    CONSTRAINT case_logs_user_id_fkey FOREIGN KEY (user_id)
        REFERENCES public.users (id) ON DELETE RESTRICT,
    -- created, assigned, status_changed, commented, ...: a word, and room for further ones.
    CONSTRAINT case_logs_action_is_a_word CHECK (action ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$')
);

COMMENT ON TABLE public.case_logs IS 'The audit trail; kept for ever.';
COMMENT ON COLUMN public.case_logs.action IS 'created, assigned, status_changed, commented, ...';
