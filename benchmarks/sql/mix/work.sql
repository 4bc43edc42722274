SELECT w.case_id, w.worker FROM bench.work AS w WHERE w.n = %s
