-- What we keep beside yoyo's own tables, and yoyo's lock table, which its command wants to find.
CREATE TABLE IF NOT EXISTS ops.casedb_migration (
    migration_id text        NOT NULL,
    -- SHA-256 of the migration and its rollback, as casedb.migrations.files computes it.
    checksum     text        NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    recorded_by  text        NOT NULL DEFAULT session_user,
    CONSTRAINT casedb_migration_pkey PRIMARY KEY (migration_id),
    CONSTRAINT casedb_migration_checksum_is_sha256 CHECK (checksum ~ '^[0-9a-f]{64}$')
);
COMMENT ON TABLE ops.casedb_migration IS 'The checksum of every applied migration.';

-- Written before a statement that cannot run in a transaction, removed with its mark: whoever finds a
-- row here and an index of that name knows that a run of ours made it, and from which text.
CREATE TABLE IF NOT EXISTS ops.casedb_unfinished (
    migration_id text        NOT NULL,
    direction    text        NOT NULL,
    statement    text        NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    started_by   text        NOT NULL DEFAULT session_user,
    CONSTRAINT casedb_unfinished_pkey PRIMARY KEY (migration_id),
    CONSTRAINT casedb_unfinished_direction_known CHECK (direction IN ('apply', 'rollback'))
);
COMMENT ON TABLE ops.casedb_unfinished IS 'Migrations outside of a transaction that are under way.';

CREATE TABLE IF NOT EXISTS ops.yoyo_lock (
    locked int DEFAULT 1,
    ctime  timestamp,
    pid    int NOT NULL,
    PRIMARY KEY (locked)
);
