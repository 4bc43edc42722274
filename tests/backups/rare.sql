-- What few databases have, and a restore must bring back all the same.
CREATE SCHEMA app;
CREATE TABLE app.cases (id int PRIMARY KEY, title text, body text);
INSERT INTO app.cases SELECT i, 'title ' || i FROM generate_series(1, 20) AS i;
CREATE SEQUENCE app.numbers;
CREATE TYPE app.pair AS (left_part int, right_part text);

SET search_path = app, pg_catalog;
CREATE DOMAIN codes AS text[] DEFAULT '{}';
-- Printed with the schema or without, by the search_path that it was made with.
CREATE DOMAIN number AS int DEFAULT nextval('numbers');
CREATE VIEW checked WITH (security_barrier, check_option = local) AS SELECT id FROM cases WHERE id > 0;
RESET search_path;

CREATE CAST (app.pair AS text) WITH INOUT;
CREATE FUNCTION app.is_near(int, int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN abs($1 - $2) < 2;
CREATE OPERATOR app.=~ (LEFTARG = int, RIGHTARG = int, FUNCTION = app.is_near, COMMUTATOR = OPERATOR(app.=~));
CREATE OPERATOR FAMILY app.backwards USING btree;
CREATE OPERATOR CLASS app.backwards FOR TYPE int USING btree FAMILY app.backwards AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 btint4cmp(int, int);
CREATE COLLATION app.bytes (LOCALE = 'C');
CREATE CONVERSION app.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH DICTIONARY app.plain (TEMPLATE = simple, ACCEPT = false);
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION app.words ALTER MAPPING FOR asciiword WITH app.plain, simple;
CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler;

CREATE FOREIGN DATA WRAPPER elsewhere OPTIONS (debug 'no');
CREATE SERVER afar TYPE 'x' FOREIGN DATA WRAPPER elsewhere OPTIONS (host 'h');
CREATE USER MAPPING FOR rare_reader SERVER afar;
CREATE FOREIGN TABLE app.remote (a int OPTIONS (name 'b')) SERVER afar OPTIONS (table_name 't');
CREATE PUBLICATION told FOR TABLE app.cases (id, title) WHERE (id > 3) WITH (publish = 'insert');
CREATE PUBLICATION retold FOR TABLES IN SCHEMA app;
CREATE SUBSCRIPTION heard CONNECTION 'dbname=nowhere' PUBLICATION told WITH (connect = false);
ALTER TABLE app.cases ALTER title SET STATISTICS 500;
SELECT lo_from_bytea(4711, 'one'), lo_from_bytea(4712, 'two');

GRANT SELECT ON LARGE OBJECT 4711 TO rare_reader;
GRANT USAGE ON FOREIGN SERVER afar TO rare_reader;
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(double precision) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO rare_reader;
GRANT SELECT ON pg_catalog.pg_statistic TO rare_reader;
GRANT SELECT (rolpassword) ON pg_catalog.pg_authid TO rare_reader;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
