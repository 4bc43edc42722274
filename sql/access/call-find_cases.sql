SELECT FROM public.find_cases('"access probe"', 1000, NULL, NULL) AS f WHERE f.case_id = %(case_id)s
