-- How large the connected database is by now, and what is being done to which table in it.
SELECT pg_database_size(current_database()),
       coalesce(
           (
               SELECT 'loading ' || string_agg(relid::regclass::text, ', ')
               FROM pg_stat_progress_copy WHERE datname = current_database()
           ),
           (
               SELECT 'indexing ' || string_agg(DISTINCT relid::regclass::text, ', ')
               FROM pg_stat_progress_create_index WHERE datname = current_database()
           )
       );
