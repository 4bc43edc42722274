INSERT INTO public.case_documents (id, case_id, filename, s3_key, mime_type, file_size, uploaded_by)
VALUES (
    %(id)s, %(case_id)s, 'probe.txt', 'access-probe/' || %(id)s::text, 'text/plain', 1, %(user_id)s
)
