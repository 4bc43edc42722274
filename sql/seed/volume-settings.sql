-- For one transaction of the volume seeder.
SELECT
    -- Rows come with their history: workflow and audit do not look at them one by one.
    set_config('casedb.bulk_load', 'on', true),
    -- The staging table has no statistics; hashing or merging would read the whole log for each block.
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true);
