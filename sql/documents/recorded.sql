-- Every document that the database knows, in the order in which a bucket lists its objects.
SELECT s3_key, file_size FROM public.case_documents ORDER BY s3_key COLLATE "C";
