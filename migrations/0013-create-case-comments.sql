-- Comments: the text lies here, where it can be erased; the log keeps that there was one, and its digest.
-- depends: 0012-log-every-change

CREATE TABLE public.case_comments (
    id         uuid           NOT NULL DEFAULT public.uuid_v7(),
    case_id    uuid           NOT NULL,
    user_id    uuid           NOT NULL,
    body       text,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    erased_at  timestamptz(3),

    CONSTRAINT case_comments_pkey PRIMARY KEY (id),
    CONSTRAINT case_comments_case_id_fkey FOREIGN KEY (case_id)
        REFERENCES public.cases (id) ON DELETE RESTRICT,
    CONSTRAINT case_comments_user_id_fkey FOREIGN KEY (user_id)
        REFERENCES public.users (id) ON DELETE RESTRICT,
    CONSTRAINT case_comments_body_not_blank
        CHECK (body ~ '[^\s\u00A0\u1680\u180E\u2000-\u200D\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]'),
    CONSTRAINT case_comments_erased_or_there CHECK ((body IS NULL) = (erased_at IS NOT NULL))
);

COMMENT ON TABLE public.case_comments IS 'What people write to a case; can be erased, not rewritten.';
COMMENT ON COLUMN public.case_comments.body IS 'Null once it has been erased.';

CREATE INDEX idx_case_comments_case ON public.case_comments (case_id, created_at);
CREATE INDEX idx_case_comments_user ON public.case_comments (user_id);

ALTER TABLE public.case_comments ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY case_comments_party_select ON public.case_comments
    FOR SELECT TO case_clerk, case_caseworker
    USING (EXISTS (SELECT FROM public.cases AS c WHERE c.id = case_comments.case_id));
CREATE POLICY case_comments_party_insert ON public.case_comments
    FOR INSERT TO case_clerk, case_caseworker
    WITH CHECK (
        user_id = (SELECT public.current_user_id())
        AND EXISTS (SELECT FROM public.cases AS c WHERE c.id = case_comments.case_id)
    );
CREATE POLICY case_comments_chair_select ON public.case_comments FOR SELECT TO case_chair
    USING ((SELECT public.current_user_id()) IS NOT NULL);
CREATE POLICY case_comments_chair_insert ON public.case_comments FOR INSERT TO case_chair
    WITH CHECK (user_id = (SELECT public.current_user_id()));

GRANT SELECT, INSERT ON public.case_comments TO case_clerk, case_chair, case_caseworker, case_seed;
GRANT SELECT ON public.case_comments TO case_readonly;
GRANT SELECT, UPDATE (body) ON public.case_comments TO case_lookup;
GRANT UPDATE (title, description) ON public.cases TO case_lookup;
GRANT SELECT, UPDATE (filename) ON public.case_documents TO case_lookup;

GRANT CREATE ON SCHEMA audit TO case_lookup;
CREATE FUNCTION audit.log_comment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    IF tg_op = 'INSERT' THEN
        INSERT INTO public.case_logs (case_id, user_id, action, details)
        VALUES (new.case_id, new.user_id, 'commented',
                jsonb_build_object('comment', new.id, 'text', audit.digest(new.id, new.body)));
    ELSE
        -- Without its salt the digest in the log cannot be tried out.
        DELETE FROM audit.salts AS s WHERE s.subject = new.id;
        INSERT INTO public.case_logs (case_id, user_id, action, details)
        VALUES (new.case_id, audit.actor(NULL), 'comment_erased',
                jsonb_build_object('comment', new.id));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION audit.log_comment() IS 'Trigger: logs that a comment was written or erased.';
ALTER FUNCTION audit.log_comment() OWNER TO case_lookup;
REVOKE CREATE ON SCHEMA audit FROM case_lookup;

CREATE FUNCTION audit.guard_comment() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = ''
AS $$
BEGIN
    IF tg_op = 'INSERT' THEN
        new.created_at := now();
        new.erased_at := NULL;
        RETURN new;
    END IF;
    IF old.body IS NULL OR new.body IS NOT NULL
        OR (new.id, new.case_id, new.user_id, new.created_at)
            IS DISTINCT FROM (old.id, old.case_id, old.user_id, old.created_at)
    THEN
        RAISE EXCEPTION 'a comment is not rewritten'
            USING ERRCODE = 'restrict_violation', SCHEMA = 'public', TABLE = 'case_comments',
                  CONSTRAINT = 'case_comments_not_rewritten',
                  HINT = 'It can be erased: SELECT public.erase_comment(comment).';
    END IF;
    new.erased_at := now();
    RETURN new;
END
$$;
COMMENT ON FUNCTION audit.guard_comment() IS 'Trigger: a comment is written once, and at most erased.';

CREATE TRIGGER case_comments_guard BEFORE INSERT OR UPDATE ON public.case_comments
    FOR EACH ROW EXECUTE FUNCTION audit.guard_comment();
CREATE TRIGGER case_comments_log AFTER INSERT OR UPDATE ON public.case_comments
    FOR EACH ROW EXECUTE FUNCTION audit.log_comment();
CREATE TRIGGER case_comments_stay BEFORE DELETE ON public.case_comments
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER case_comments_no_truncate BEFORE TRUNCATE ON public.case_comments
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
ALTER TABLE public.case_comments
    ENABLE ALWAYS TRIGGER case_comments_guard,
    ENABLE ALWAYS TRIGGER case_comments_log,
    ENABLE ALWAYS TRIGGER case_comments_stay,
    ENABLE ALWAYS TRIGGER case_comments_no_truncate;

-- INVOKER: the policies decide to which case one may write.
CREATE FUNCTION public.comment_on_case(case_id uuid, comment text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = ''
AS $$
DECLARE
    written uuid;
BEGIN
    -- The check on the table lets null pass: that is an erased one.
    INSERT INTO public.case_comments (case_id, user_id, body)
    VALUES (
        comment_on_case.case_id, public.current_user_id(), coalesce(comment_on_case.comment, '')
    )
    RETURNING id INTO written;
    RETURN written;
END
$$;
COMMENT ON FUNCTION public.comment_on_case(uuid, text) IS
    'Writes a comment to a case one sees, and logs it; returns the comment''s id.';

CREATE FUNCTION public.erase_comment(comment_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    PERFORM audit.actor(NULL);
    UPDATE public.case_comments AS c SET body = NULL
    WHERE c.id = comment_id AND c.body IS NOT NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such comment, or it is erased already'
            USING ERRCODE = 'no_data_found';
    END IF;
END
$$;
COMMENT ON FUNCTION public.erase_comment(uuid) IS
    'Erases the text of a comment for good; the log keeps that there was one. For chairs.';
ALTER FUNCTION public.erase_comment(uuid) OWNER TO case_lookup;

CREATE FUNCTION public.erase_case(case_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = ''
AS $$
DECLARE
    who CONSTANT uuid := audit.actor(NULL);
BEGIN
    UPDATE public.cases AS c SET title = '(erased)', description = '' WHERE c.id = erase_case.case_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such case' USING ERRCODE = 'no_data_found';
    END IF;
    UPDATE public.case_comments AS m SET body = NULL
    WHERE m.case_id = erase_case.case_id AND m.body IS NOT NULL;
    UPDATE public.case_documents AS d SET filename = '(erased)' WHERE d.case_id = erase_case.case_id;
    DELETE FROM audit.salts AS s WHERE s.subject = erase_case.case_id;
    INSERT INTO public.case_logs (case_id, user_id, action) VALUES (erase_case.case_id, who, 'erased');
END
$$;
COMMENT ON FUNCTION public.erase_case(uuid) IS
    'Erases all free text of a case for good; its log stays whole. The files in S3 are not touched.';
ALTER FUNCTION public.erase_case(uuid) OWNER TO case_lookup;

GRANT EXECUTE ON FUNCTION public.comment_on_case(uuid, text)
    TO case_clerk, case_chair, case_caseworker, case_seed;
GRANT EXECUTE ON FUNCTION public.erase_comment(uuid), public.erase_case(uuid)
    TO case_chair, case_seed;
