-- For one transaction of the volume seeder.
-- Rows come with their history: workflow and audit do not look at them one by one.
SELECT set_config('casedb.bulk_load', 'on', true);
