-- Loses where every file lies; the files in S3 stay.
DROP TABLE public.case_documents;
