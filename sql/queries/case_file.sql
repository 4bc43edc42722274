-- One case with its whole log, its documents and comments: one statement, however much that is.
--
-- @param {String} $1:case_id Which case.
-- @sample case_id SELECT c.id::text FROM public.cases AS c ORDER BY c.created_at DESC, c.id DESC LIMIT 1
-- @column id uuid
-- @column title text
-- @column description text
-- @column status text
-- @column priority text
-- @column created_by uuid
-- @column assigned_to uuid
-- @column created_at timestamptz
-- @column updated_at timestamptz
-- @column log jsonb
-- @column documents jsonb
-- @column comments jsonb
-- @budget no sequential scan on cases, case_logs, case_documents, case_comments
-- @budget at most 400 buffers

SELECT
    c.id, c.title, c.description, c.status, c.priority, c.created_by, c.assigned_to,
    c.created_at, c.updated_at,
    (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'id', l.id,
            'action', l.action,
            'details', l.details,
            'timestamp', l."timestamp",
            'user_id', l.user_id,
            'user_name', concat_ws(' ', actor.first_name, actor.last_name)
        ) ORDER BY l.seq), '[]')
        FROM public.case_logs AS l
        LEFT JOIN public.users AS actor ON actor.id = l.user_id
        WHERE l.case_id = c.id
    ) AS log,
    (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'id', d.id,
            'filename', d.filename,
            's3_key', d.s3_key,
            'mime_type', d.mime_type,
            'file_size', d.file_size,
            'uploaded_by', d.uploaded_by,
            'uploaded_at', d.uploaded_at
        ) ORDER BY d.uploaded_at, d.id), '[]')
        FROM public.case_documents AS d
        WHERE d.case_id = c.id
    ) AS documents,
    (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'id', m.id,
            'user_id', m.user_id,
            'body', m.body,
            'created_at', m.created_at,
            'erased_at', m.erased_at
        ) ORDER BY m.created_at, m.id), '[]')
        FROM public.case_comments AS m
        WHERE m.case_id = c.id
    ) AS comments
FROM public.cases AS c
WHERE c.id = $1::uuid
