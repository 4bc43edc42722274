-- The histories of a block's cases, column by column.
SELECT audit.load_case_logs(
    %s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::jsonb, %s::timestamptz[]
)
