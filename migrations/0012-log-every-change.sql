-- Every change to cases, documents and users writes itself into the log.
-- depends: 0011-chain-the-log

-- Free text is logged as a digest, and each digest has a salt: without it nobody can try out texts
-- until one fits. Erasing text and salt leaves a log that is whole and says nothing of the person.
CREATE TABLE audit.salts (
    subject uuid  NOT NULL,
    salt    bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),

    CONSTRAINT salts_pkey PRIMARY KEY (subject)
);
COMMENT ON TABLE audit.salts IS 'The salt of the digests of one case, comment or user.';

CREATE TABLE audit.user_logs (
    user_id     uuid           NOT NULL,
    -- Changes of one user: they will not be two thousand millions.
    -- squawk-ignore prefer-bigint-over-int
    seq         integer        NOT NULL,
    actor       uuid,
    action      text           NOT NULL,
    details     jsonb,
    "timestamp" timestamptz(3) NOT NULL,
    login       text           NOT NULL,
    hash        bytea          NOT NULL,

    CONSTRAINT user_logs_pkey PRIMARY KEY (user_id, seq),
    CONSTRAINT user_logs_chained CHECK (seq > 0 AND length(hash) = 32),
    CONSTRAINT user_logs_action_is_a_word CHECK (action ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$')
);
-- No foreign key: the record stays when a user who never did anything is deleted.
COMMENT ON TABLE audit.user_logs IS
    'What happened to each user (role, activation, e-mail, password), as a chain like a case''s.';
COMMENT ON COLUMN audit.user_logs.actor IS 'Who did it; null for maintenance without an identity.';

GRANT CREATE ON SCHEMA audit TO case_lookup;
GRANT SELECT, INSERT, DELETE ON audit.salts TO case_lookup;
GRANT SELECT, INSERT ON audit.user_logs TO case_lookup;
GRANT SELECT ON audit.user_logs TO case_readonly;
GRANT EXECUTE ON FUNCTION public.current_user_id() TO case_lookup;

CREATE FUNCTION audit.digest(subject uuid, body text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = ''
AS $$
BEGIN
    INSERT INTO audit.salts (subject) VALUES (digest.subject) ON CONFLICT DO NOTHING;
    RETURN (
        SELECT 'sha256:' || encode(sha256(s.salt || convert_to(body, 'UTF8')), 'hex')
        FROM audit.salts AS s WHERE s.subject = digest.subject
    );
END
$$;
COMMENT ON FUNCTION audit.digest(uuid, text) IS 'The digest of a text, salted for its subject.';

CREATE FUNCTION audit.actor(otherwise uuid) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY INVOKER
SET search_path = ''
AS $$
DECLARE
    found CONSTANT uuid := coalesce(public.current_user_id(), otherwise);
BEGIN
    IF found IS NULL THEN
        RAISE EXCEPTION 'the log has to say who does this, and nobody was named'
            USING ERRCODE = 'invalid_authorization_specification',
                  HINT = 'The back end calls act_as(); for maintenance: '
                         'SELECT set_config(''app.user_id'', ''<id of the responsible user>'', true).';
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION audit.actor(uuid) IS 'Who acts, else `otherwise`; an error if that is null too.';

GRANT EXECUTE ON FUNCTION audit.digest(uuid, text), audit.actor(uuid) TO case_lookup;

CREATE FUNCTION audit.log_case() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
DECLARE
    who uuid;
    changes jsonb := '{}';
BEGIN
    IF tg_op = 'INSERT' THEN
        INSERT INTO public.case_logs (case_id, user_id, action, details)
        VALUES (
            new.id, audit.actor(new.created_by), 'created',
            jsonb_build_object('status', new.status, 'priority', new.priority)
        );
        RETURN NULL;
    END IF;
    who := audit.actor(NULL);
    IF new.priority IS DISTINCT FROM old.priority THEN
        changes := changes || jsonb_build_object(
            'priority', jsonb_build_object('from', old.priority, 'to', new.priority));
    END IF;
    IF new.title IS DISTINCT FROM old.title THEN
        changes := changes || jsonb_build_object('title', jsonb_build_object(
            'from', audit.digest(new.id, old.title), 'to', audit.digest(new.id, new.title)));
    END IF;
    IF new.description IS DISTINCT FROM old.description THEN
        changes := changes || jsonb_build_object('description', jsonb_build_object(
            'from', audit.digest(new.id, old.description), 'to', audit.digest(new.id, new.description)));
    END IF;
    IF (new.created_by, new.created_at) IS DISTINCT FROM (old.created_by, old.created_at) THEN
        changes := changes || jsonb_build_object('origin', jsonb_build_object(
            'from', jsonb_build_array(old.created_by, old.created_at),
            'to', jsonb_build_array(new.created_by, new.created_at)));
    END IF;
    IF changes <> '{}' THEN
        INSERT INTO public.case_logs (case_id, user_id, action, details)
        VALUES (new.id, who, 'updated', changes);
    END IF;
    IF new.assigned_to IS DISTINCT FROM old.assigned_to THEN
        INSERT INTO public.case_logs (case_id, user_id, action, details)
        VALUES (new.id, who, 'assigned',
                jsonb_build_object('from', old.assigned_to, 'to', new.assigned_to));
    END IF;
    IF new.status IS DISTINCT FROM old.status THEN
        INSERT INTO public.case_logs (case_id, user_id, action, details)
        VALUES (new.id, who, 'status_changed',
                jsonb_build_object('from', old.status, 'to', new.status));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION audit.log_case() IS 'Trigger: logs what happens to a case.';
ALTER FUNCTION audit.log_case() OWNER TO case_lookup;

CREATE FUNCTION audit.log_document() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
DECLARE
    changed text[];
BEGIN
    IF tg_op = 'INSERT' THEN
        INSERT INTO public.case_logs (case_id, user_id, action, details)
        VALUES (
            new.case_id, audit.actor(new.uploaded_by), 'document_added',
            jsonb_build_object(
                'document', new.id, 'mime_type', new.mime_type, 'file_size', new.file_size,
                'filename', audit.digest(new.case_id, new.filename),
                's3_key', audit.digest(new.case_id, new.s3_key)
            )
        );
        RETURN NULL;
    END IF;
    IF tg_op = 'UPDATE' AND new.case_id = old.case_id THEN
        SELECT array_agg(n.key ORDER BY n.key) INTO changed
        FROM jsonb_each(to_jsonb(new)) AS n
        WHERE n.value IS DISTINCT FROM to_jsonb(old) -> n.key;
        INSERT INTO public.case_logs (case_id, user_id, action, details)
        VALUES (
            new.case_id, audit.actor(NULL), 'document_updated',
            jsonb_build_object(
                'document', old.id, 'changed', changed,
                'mime_type', jsonb_build_array(old.mime_type, new.mime_type),
                'file_size', jsonb_build_array(old.file_size, new.file_size),
                'filename', jsonb_build_array(
                    audit.digest(old.case_id, old.filename), audit.digest(old.case_id, new.filename)),
                's3_key', jsonb_build_array(
                    audit.digest(old.case_id, old.s3_key), audit.digest(old.case_id, new.s3_key))
            )
        );
        RETURN NULL;
    END IF;
    -- Deleted, or moved to another case: gone from the one, new in the other.
    INSERT INTO public.case_logs (case_id, user_id, action, details)
    VALUES (
        old.case_id, audit.actor(NULL), 'document_removed',
        jsonb_build_object(
            'document', old.id, 'mime_type', old.mime_type, 'file_size', old.file_size,
            'filename', audit.digest(old.case_id, old.filename),
            's3_key', audit.digest(old.case_id, old.s3_key)
        )
    );
    IF tg_op = 'UPDATE' THEN
        INSERT INTO public.case_logs (case_id, user_id, action, details)
        VALUES (
            new.case_id, audit.actor(NULL), 'document_added',
            jsonb_build_object(
                'document', new.id, 'mime_type', new.mime_type, 'file_size', new.file_size,
                'filename', audit.digest(new.case_id, new.filename),
                's3_key', audit.digest(new.case_id, new.s3_key)
            )
        );
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION audit.log_document() IS 'Trigger: logs what happens to a document, in its case.';
ALTER FUNCTION audit.log_document() OWNER TO case_lookup;

CREATE FUNCTION audit.log_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    IF tg_op = 'DELETE' THEN
        INSERT INTO audit.user_logs (user_id, action) VALUES (old.id, 'deleted');
        DELETE FROM audit.salts AS s WHERE s.subject = old.id;
        RETURN NULL;
    END IF;
    IF tg_op = 'INSERT' THEN
        INSERT INTO audit.user_logs (user_id, action, details)
        VALUES (new.id, 'created', jsonb_build_object(
            'role', new.role, 'is_active', new.is_active, 'email', audit.digest(new.id, new.email)));
        RETURN NULL;
    END IF;
    IF new.role IS DISTINCT FROM old.role THEN
        INSERT INTO audit.user_logs (user_id, action, details)
        VALUES (new.id, 'role_changed', jsonb_build_object('from', old.role, 'to', new.role));
    END IF;
    IF new.is_active IS DISTINCT FROM old.is_active THEN
        INSERT INTO audit.user_logs (user_id, action)
        VALUES (new.id, CASE WHEN new.is_active THEN 'activated' ELSE 'deactivated' END);
    END IF;
    IF new.email IS DISTINCT FROM old.email THEN
        INSERT INTO audit.user_logs (user_id, action, details)
        VALUES (new.id, 'email_changed', jsonb_build_object(
            'from', audit.digest(new.id, old.email), 'to', audit.digest(new.id, new.email)));
    END IF;
    IF new.password IS DISTINCT FROM old.password THEN
        INSERT INTO audit.user_logs (user_id, action) VALUES (new.id, 'password_changed');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION audit.log_user() IS 'Trigger: logs what happens to a user.';
ALTER FUNCTION audit.log_user() OWNER TO case_lookup;

CREATE FUNCTION audit.chain_user_log() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
DECLARE
    last record;
BEGIN
    -- No lock: the trigger that writes here runs while the user's own row is locked by the change.
    SELECT l.seq, l.hash INTO last
    FROM audit.user_logs AS l WHERE l.user_id = new.user_id ORDER BY l.seq DESC LIMIT 1;
    new.seq := coalesce(last.seq, 0) + 1;
    new.actor := public.current_user_id();
    new."timestamp" := date_trunc('milliseconds', clock_timestamp());
    new.login := session_user;
    new.hash := sha256(
        coalesce(last.hash, '\x') || convert_to(
            jsonb_build_array(
                new.user_id, new.seq, new.actor, new.action, new.details,
                (extract(epoch FROM new."timestamp") * 1000)::bigint, new.login
            )::text,
            'UTF8'
        )
    );
    RETURN new;
END
$$;
COMMENT ON FUNCTION audit.chain_user_log() IS 'Trigger: appends an entry to its user''s chain.';
ALTER FUNCTION audit.chain_user_log() OWNER TO case_lookup;
REVOKE CREATE ON SCHEMA audit FROM case_lookup;

CREATE TRIGGER cases_log_insert AFTER INSERT ON public.cases
    FOR EACH ROW WHEN (current_setting('casedb.bulk_load', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION audit.log_case();
CREATE TRIGGER cases_log_update AFTER UPDATE ON public.cases
    FOR EACH ROW WHEN (
        (
            old.title IS DISTINCT FROM new.title
            OR old.description IS DISTINCT FROM new.description
            OR old.status IS DISTINCT FROM new.status
            OR old.priority IS DISTINCT FROM new.priority
            OR old.assigned_to IS DISTINCT FROM new.assigned_to
            OR old.created_by IS DISTINCT FROM new.created_by
            OR old.created_at IS DISTINCT FROM new.created_at
        )
        AND current_setting('casedb.bulk_load', true) IS DISTINCT FROM 'on'
    )
    EXECUTE FUNCTION audit.log_case();
CREATE TRIGGER case_documents_bulk_load BEFORE INSERT OR UPDATE OR DELETE ON public.case_documents
    FOR EACH STATEMENT WHEN (current_setting('casedb.bulk_load', true) = 'on')
    EXECUTE FUNCTION ops.require_bulk_load();
CREATE TRIGGER case_documents_log_insert AFTER INSERT OR DELETE ON public.case_documents
    FOR EACH ROW WHEN (current_setting('casedb.bulk_load', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION audit.log_document();
CREATE TRIGGER case_documents_log_update AFTER UPDATE ON public.case_documents
    FOR EACH ROW WHEN (
        old.* IS DISTINCT FROM new.*
        AND current_setting('casedb.bulk_load', true) IS DISTINCT FROM 'on'
    )
    EXECUTE FUNCTION audit.log_document();
-- Users are logged during a bulk load too: they are few.
CREATE TRIGGER users_log AFTER INSERT OR UPDATE OR DELETE ON public.users
    FOR EACH ROW EXECUTE FUNCTION audit.log_user();
CREATE TRIGGER user_logs_chain BEFORE INSERT ON audit.user_logs
    FOR EACH ROW EXECUTE FUNCTION audit.chain_user_log();
CREATE TRIGGER user_logs_append_only BEFORE UPDATE OR DELETE ON audit.user_logs
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER user_logs_no_truncate BEFORE TRUNCATE ON audit.user_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
ALTER TABLE public.cases
    ENABLE ALWAYS TRIGGER cases_log_insert,
    ENABLE ALWAYS TRIGGER cases_log_update;
ALTER TABLE public.case_documents
    ENABLE ALWAYS TRIGGER case_documents_bulk_load,
    ENABLE ALWAYS TRIGGER case_documents_log_insert,
    ENABLE ALWAYS TRIGGER case_documents_log_update;
ALTER TABLE public.users ENABLE ALWAYS TRIGGER users_log;
ALTER TABLE audit.user_logs
    ENABLE ALWAYS TRIGGER user_logs_chain,
    ENABLE ALWAYS TRIGGER user_logs_append_only,
    ENABLE ALWAYS TRIGGER user_logs_no_truncate;
