-- The permanent record of everything that happens to a case.
-- depends: 0002-create-cases

CREATE TABLE public.case_logs (
    id          uuid           NOT NULL DEFAULT public.uuid_v7(),
    case_id     uuid           NOT NULL,
    user_id     uuid           NOT NULL,
    action      text           NOT NULL,
    details     jsonb,
    "timestamp" timestamptz(3) NOT NULL DEFAULT now(),
    -- The chain. The defaults are only there so that a client need not name what a trigger fills in.
    -- Entries of one case, and Prisma's Int.
    -- squawk-ignore prefer-bigint-over-int
    seq         integer        NOT NULL DEFAULT 0,
    login       text           NOT NULL DEFAULT session_user,
    hash        bytea          NOT NULL DEFAULT '\x',

    CONSTRAINT case_logs_pkey PRIMARY KEY (id),
    CONSTRAINT case_logs_case_id_seq_key UNIQUE (case_id, seq),
    CONSTRAINT case_logs_chained CHECK (seq > 0 AND length(hash) = 32),
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
COMMENT ON COLUMN public.case_logs."timestamp" IS 'The server''s time of writing.';
COMMENT ON COLUMN public.case_logs.seq IS 'Counts a case''s entries from 1, without a gap.';
COMMENT ON COLUMN public.case_logs.login IS 'The login role of the session that wrote it.';
COMMENT ON COLUMN public.case_logs.hash IS
    'SHA-256 over the hash of the entry before it and this entry''s content.';
