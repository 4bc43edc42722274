-- Loses every case.
DROP TABLE public.cases;
DROP DOMAIN public.case_priority;
DROP DOMAIN public.case_status;
