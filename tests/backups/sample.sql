-- Everything that a dump, its proof and its restore have to cope with, in one small database.
CREATE SCHEMA app AUTHORIZATION sample_owner;
GRANT USAGE ON SCHEMA app TO sample_reader;
SET ROLE sample_owner;

ALTER DEFAULT PRIVILEGES FOR ROLE sample_owner IN SCHEMA app GRANT SELECT ON TABLES TO sample_reader;

CREATE TYPE app.colour AS ENUM ('red', 'green', 'blue');
ALTER TYPE app.colour ADD VALUE 'amber' BEFORE 'green';
-- A new label can be used once it is committed.
COMMIT;
CREATE TYPE app.pair AS (left_part int, right_part text);
CREATE DOMAIN app.code AS text CONSTRAINT code_short CHECK (length(VALUE) < 20);
CREATE DOMAIN app.strict_code AS app.code NOT NULL;
CREATE DOMAIN app.small_number AS int CHECK (VALUE BETWEEN 0 AND 99);

CREATE TABLE app.every_type (
    id uuid PRIMARY KEY,
    t_bool bool, t_int2 int2, t_int4 int4, t_int8 int8, t_numeric numeric, t_float4 float4, t_float8 float8,
    t_text text, t_varchar varchar(30), t_char char(8), t_name name, t_onechar "char", t_bytea bytea,
    t_date date, t_time time, t_timetz timetz, t_timestamp timestamp, t_timestamptz timestamptz, t_interval interval,
    t_json json, t_jsonb jsonb, t_inet inet, t_cidr cidr, t_macaddr macaddr, t_bit bit(4), t_varbit varbit,
    t_range int4range, t_ints int[], t_texts text[], t_point point, t_money money, t_tsvector tsvector, t_lsn pg_lsn,
    t_oid oid, t_regclass regclass, t_colour app.colour, t_colours app.colour[], t_pair app.pair,
    t_code app.code, t_strict app.strict_code, t_small app.small_number
);
INSERT INTO app.every_type
SELECT gen_random_uuid(), i % 2 = 0, i, i, i::bigint << 40, i / 7.0, i / 3.0, i / 3.0,
       'text ' || i, 'varchar ' || i, 'c' || i, 'name' || i, 'x', decode(md5(i::text), 'hex'),
       date '2026-01-01' + i, time '01:02:03' + i * interval '1s', timetz '04:05:06+02', timestamp '2026-03-29 02:30' + i * interval '1h',
       timestamptz '2026-03-29 02:30+00' + i * interval '1h', i * interval '1 month 2 days 3.5s',
       '{"a" : 1}', jsonb_build_object('n', i, 'deep', jsonb_build_array(null, true, 'ä')), '10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03',
       B'1010', B'101', int4range(i, i + 5), ARRAY[i, NULL, 3], ARRAY['a', NULL, 'c,"d'], point(i, 0.1), 12.34, to_tsvector('simple', 'one two'), '16/B374D848',
       i, 'app.every_type', 'amber', '{red,blue}', ROW(i, 'r')::app.pair, 'code' || i, 'strict' || i, i % 100
FROM generate_series(1, 40) AS i;
INSERT INTO app.every_type (id, t_strict) VALUES ('00000000-0000-0000-0000-000000000000', '');
INSERT INTO app.every_type (id, t_strict, t_timestamptz, t_float8, t_numeric)
VALUES ('ffffffff-ffff-ffff-ffff-ffffffffffff', 'x', 'infinity', 'NaN', 'NaN');

-- A dropped column leaves a gap in the column numbers, which a restore closes.
CREATE TABLE app.cases (
    id int GENERATED ALWAYS AS IDENTITY (START WITH 5 INCREMENT BY 5) PRIMARY KEY,
    gone text,
    title text NOT NULL COLLATE "C",
    status varchar(20) NOT NULL DEFAULT 'new' CONSTRAINT cases_status_known CHECK (status IN ('new', 'open', 'it''s done')),
    owner_name text NOT NULL DEFAULT CURRENT_USER,
    title_length int GENERATED ALWAYS AS (length(title)) STORED
);
ALTER TABLE app.cases DROP COLUMN gone;
COMMENT ON TABLE app.cases IS 'Cases, with a "quoted" comment';
COMMENT ON COLUMN app.cases.title IS 'What it is about';
INSERT INTO app.cases (title, status) SELECT 'case ' || i, (ARRAY['new', 'open'])[1 + i % 2] FROM generate_series(1, 100) AS i;
CREATE INDEX cases_open ON app.cases (status, id DESC) WHERE status IN ('new', 'open');
CREATE STATISTICS app.cases_related ON status, owner_name FROM app.cases;

CREATE TABLE app.documents (
    case_id int NOT NULL CONSTRAINT documents_case REFERENCES app.cases,
    body text
);
ALTER TABLE app.documents ADD CONSTRAINT documents_body_not_empty CHECK (body <> '') NOT VALID;
INSERT INTO app.documents SELECT id, 'same' FROM app.cases, generate_series(1, 2);
GRANT INSERT (body), SELECT (body) ON app.documents TO sample_reader;
CREATE RULE never_delete AS ON DELETE TO app.documents DO INSTEAD NOTHING;

CREATE TABLE app.no_columns ();
INSERT INTO app.no_columns DEFAULT VALUES;
INSERT INTO app.no_columns DEFAULT VALUES;
CREATE TABLE app.empty (id int);
CREATE UNLOGGED TABLE app.scratch AS SELECT i FROM generate_series(1, 3) AS i;

CREATE TABLE app.events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE app.events_2025 PARTITION OF app.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE app.events_other PARTITION OF app.events DEFAULT;
CREATE INDEX events_at ON app.events (at);
INSERT INTO app.events SELECT date '2025-12-01' + i, 'event ' || i FROM generate_series(1, 60) AS i;
CREATE TABLE app.parent (id int);
CREATE TABLE app.child (extra text) INHERITS (app.parent);
INSERT INTO app.parent VALUES (1);
INSERT INTO app.child VALUES (2, 'child');

CREATE TABLE app."Odd ""name"" ä" ("a b" int, "select" text);
INSERT INTO app."Odd ""name"" ä" VALUES (1, 'x');

CREATE SEQUENCE app.numbers START 100 INCREMENT -3 MAXVALUE 100 MINVALUE 0 CYCLE;
SELECT nextval('app.numbers'), nextval('app.numbers');

CREATE VIEW app.open_cases WITH (security_barrier) AS SELECT id, title FROM app.cases WHERE status IN ('open', 'new');
CREATE MATERIALIZED VIEW app.fresh AS SELECT case_id, count(*) FROM app.documents GROUP BY case_id;
CREATE MATERIALIZED VIEW app.stale AS SELECT count(*) FROM app.documents;
INSERT INTO app.documents VALUES (5, 'one more');
REFRESH MATERIALIZED VIEW app.fresh;
CREATE MATERIALIZED VIEW app.without_data AS SELECT 1 AS one WITH NO DATA;

CREATE FUNCTION app.shout(what text DEFAULT 'hey') RETURNS text LANGUAGE sql IMMUTABLE
    RETURN upper(what) || '!';
CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$ BEGIN RETURN NEW; END $$;
REVOKE EXECUTE ON FUNCTION app.stamp() FROM PUBLIC;
CREATE PROCEDURE app.nothing() LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
CREATE AGGREGATE app.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE TRIGGER cases_stamp BEFORE UPDATE OF title ON app.cases FOR EACH ROW WHEN (OLD.title <> NEW.title) EXECUTE FUNCTION app.stamp();
CREATE TRIGGER cases_off BEFORE INSERT ON app.cases FOR EACH ROW EXECUTE FUNCTION app.stamp();
ALTER TABLE app.cases DISABLE TRIGGER cases_off;

ALTER TABLE app.cases ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.cases FORCE ROW LEVEL SECURITY;
CREATE POLICY cases_own ON app.cases FOR SELECT TO sample_reader USING (owner_name = CURRENT_USER);
CREATE POLICY cases_all ON app.cases TO sample_owner USING (true) WITH CHECK (status <> 'it''s done');
CREATE POLICY cases_never_closed ON app.cases AS RESTRICTIVE FOR UPDATE USING (status IN ('new', 'open'));

RESET ROLE;
SELECT lo_from_bytea(0, 'large object one'), lo_from_bytea(0, decode(repeat('00ff', 5000), 'hex'));
CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER watch_ddl ON ddl_command_end WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION public.on_ddl();
