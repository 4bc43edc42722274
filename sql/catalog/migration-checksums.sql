-- The checksum of each applied migration, in order.
SELECT migration_id, checksum FROM ops.casedb_migration ORDER BY migration_id COLLATE "C";
