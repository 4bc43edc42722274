-- What is known about the files of a case; the files themselves lie in S3.
-- depends: 0003-create-case-logs

CREATE TABLE public.case_documents (
    id          uuid           NOT NULL DEFAULT public.uuid_v7(),
    case_id     uuid           NOT NULL,
    filename    text           NOT NULL,
    s3_key      text           NOT NULL,
    mime_type   text           NOT NULL,
    -- At most 100 MB, and Prisma's Int.
    -- squawk-ignore prefer-bigint-over-int
    file_size   integer        NOT NULL,
    uploaded_by uuid           NOT NULL,
    uploaded_at timestamptz(3) NOT NULL DEFAULT now(),

    CONSTRAINT case_documents_pkey PRIMARY KEY (id),
    CONSTRAINT case_documents_s3_key_key UNIQUE (s3_key),
    CONSTRAINT case_documents_case_id_fkey FOREIGN KEY (case_id)
        REFERENCES public.cases (id) ON DELETE RESTRICT,
    CONSTRAINT case_documents_uploaded_by_fkey FOREIGN KEY (uploaded_by)
        REFERENCES public.users (id) ON DELETE RESTRICT,
    CONSTRAINT reasonable_file_size CHECK (file_size <= 104857600),
    CONSTRAINT case_documents_file_size_not_negative CHECK (file_size >= 0),
    CONSTRAINT case_documents_filename_not_blank
        CHECK (filename ~ '[^\s\u00A0\u1680\u180E\u2000-\u200D\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]'),
    CONSTRAINT case_documents_s3_key_not_blank
        CHECK (s3_key ~ '[^\s\u00A0\u1680\u180E\u2000-\u200D\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]'),
    CONSTRAINT case_documents_mime_type_valid CHECK (mime_type ~ '^[^\s/]+/[^\s/]')
);

COMMENT ON TABLE public.case_documents IS 'The files of the cases, which lie in S3.';
COMMENT ON COLUMN public.case_documents.file_size IS 'Bytes; at most 100 MiB.';
COMMENT ON COLUMN public.case_documents.s3_key IS 'The object''s key in the bucket of documents.';
