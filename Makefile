# Every task that a person or CI runs. Bare `make` prints them.

CASEDB := .venv/bin/casedb
# Further words for the command: make dump ARGS="--json".
ARGS ?=
# The PostgreSQL programs the tests use: the plan's version where Debian has installed it. Empty:
# the embedded ones.
TEST_PG_BIN ?= $(or $(PG_BIN),$(wildcard /usr/lib/postgresql/15/bin))

# How much make bench measures with, and which benches; empty: all.
SCALE ?= small
BENCH ?=

# A server a core, and a file's tests together: they share what is costly to make.
PARALLEL ?= --numprocesses=auto --dist=loadfile

.DEFAULT_GOAL := help
.PHONY: help up down reset status shell migrate rollback seed dump backups verify drill rotate \
	restore undo-restore access rehearse rehearse-restore env compose-up compose-down compose-reset \
	test test-all coverage test-property test-hosts test-compose test-bench kill-matrix fault-matrix \
	bench bench-docs lint format requirements clean venv venv-dev

help:  ## Print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
		awk -F '\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

up: venv  ## Start, migrate, seed, back up and prove an embedded PostgreSQL
	@$(CASEDB) up $(ARGS)

down: venv  ## Stop the embedded server, keep its data
	@$(CASEDB) down $(ARGS)

reset: venv  ## Start over with an empty development database (asks)
	@$(CASEDB) reset $(ARGS)

status: venv  ## Is everything well, and what to do if not
	@$(CASEDB) status $(ARGS)

shell: venv  ## Open pgcli on the database
	@$(CASEDB) shell $(ARGS)

migrate: venv  ## Apply the pending migrations
	@$(CASEDB) migrate apply $(ARGS)

rollback: venv  ## Roll the last migration back
	@$(CASEDB) migrate rollback $(ARGS)

seed: venv  ## Load the demo users, case and log entry (development only)
	@$(CASEDB) seed $(ARGS)

dump: venv  ## Take one backup
	@$(CASEDB) dump $(ARGS)

backups: venv  ## List the backups
	@$(CASEDB) backups $(ARGS)

verify: venv  ## Check the newest backup's bytes
	@$(CASEDB) verify latest $(ARGS)

drill: venv  ## Restore the newest backup for real and compare
	@$(CASEDB) drill latest $(ARGS)

rotate: venv  ## Show what the retention policy would delete (ARGS=--apply deletes)
	@$(CASEDB) rotate $(ARGS)

access: venv  ## Try who may do what, and compare it with what is expected
	@$(CASEDB) access $(ARGS)

restore: venv  ## Restore beside, compare, swap (asks): make restore ARGS="latest --plan"
	@$(CASEDB) restore $(ARGS)

undo-restore: venv  ## Swap the database back that a restore replaced
	@$(CASEDB) undo-restore $(ARGS)

rehearse-restore: venv-dev  ## Play a night on a throwaway server: data lost under load, restore, swap, undo
	@.venv/bin/python -m tests.restore.rehearsal $(if $(TEST_PG_BIN),--pg-bin=$(TEST_PG_BIN)) $(ARGS)

rehearse: venv  ## Real Debian hosts in Docker, from bare to a drilled backup: one report (Docker, root)
	@mkdir -p .casedb && $(CASEDB) rehearse run --report .casedb/rehearsal.md $(ARGS)

env: venv  ## Make .env for the stack with Docker: random passwords, free ports
	@$(CASEDB) compose env $(ARGS)

compose-up: venv  ## Start PostgreSQL and pgAdmin with Docker, migrate, seed (ARGS=--pooler)
	@$(CASEDB) compose up $(ARGS)

compose-down: venv  ## Stop the stack with Docker, keep its data
	@$(CASEDB) compose down $(ARGS)

compose-reset: venv  ## Remove the stack with Docker and all its data (asks)
	@$(CASEDB) compose reset $(ARGS)

test-compose: venv-dev  ## Run the tests of the stack with Docker
	@.venv/bin/pytest --numprocesses=2 --dist=loadfile -m compose tests/compose $(ARGS)

test-hosts: venv-dev  ## Run the tests that need real Debian hosts (Docker, root)
	@.venv/bin/pytest -m hosts tests/hosts $(ARGS)

test: venv-dev  ## Run the test suite on real throwaway servers
	@.venv/bin/pytest $(PARALLEL) $(if $(TEST_PG_BIN),--pg-bin=$(TEST_PG_BIN)) $(ARGS)

coverage: venv-dev  ## Run the test suite and say which lines it did not reach
	@$(MAKE) test ARGS="--cov --cov-report=term $(ARGS)"

# A skip is a failure: what was not tried has not passed.
test-all: export CI := true
test-all: venv-dev  ## Run all tests on every PostgreSQL that this machine has, and say which it lacks
	-@sh tests/debian13.sh
	@.venv/bin/python -m tests.majors --say
	@set -e; for bin in $$(.venv/bin/python -m tests.majors); do \
		.venv/bin/pytest $(PARALLEL) -q --pg-bin="$$bin" $(ARGS); done
	@KILL_REPEATS=20 $(MAKE) kill-matrix
	@set -e; for bin in $$(.venv/bin/python -m tests.majors); do \
		FAULT_REPEATS=20 $(MAKE) fault-matrix TEST_PG_BIN="$$bin"; done
	@$(MAKE) test-property
	@$(MAKE) test-compose
	@$(MAKE) test-bench
	@$(MAKE) test-hosts
	@.venv/bin/python -m tests.majors --say

lint: venv-dev  ## Check style, types, imports and migrations
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo
	@$(CASEDB) migrate check

format: venv-dev  ## Put the code into its form
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

test-property: venv-dev  ## 100,000 random statements against the model of row security
	@PROPERTY_STATEMENTS=100000 .venv/bin/pytest -q -s --timeout=0 $(if $(TEST_PG_BIN),--pg-bin=$(TEST_PG_BIN)) \
		tests/database/test_row_security_property.py $(ARGS)

kill-matrix: venv-dev  ## Kill migrations at every step and show what a retry makes of each
	@.venv/bin/pytest tests/migrations_kill -q $(if $(TEST_PG_BIN),--pg-bin=$(TEST_PG_BIN)) $(ARGS)

fault-matrix: venv-dev  ## Hit backups, drills, rotations and stores with every fault, and show what came of each
	@.venv/bin/pytest tests/backup_faults $(PARALLEL) -q \
		$(if $(TEST_PG_BIN),--pg-bin=$(TEST_PG_BIN)) $(ARGS)

bench: venv-dev  ## Measure all against the plan's scripts (SCALE=medium BENCH="dump restore")
	@mkdir -p .casedb
	@$(CASEDB) bench $(BENCH) --scale $(SCALE) --json .casedb/bench-$(SCALE).json $(ARGS)

test-bench: venv-dev  ## Try every bench with 500 cases; make up and the hosts have tests of their own
	@.venv/bin/pytest -m bench tests/benchmarks $(if $(TEST_PG_BIN),--pg-bin=$(TEST_PG_BIN)) $(ARGS)

bench-docs: venv-dev  ## Write docs/performance.md from what make bench SCALE=medium measured
	@$(CASEDB) bench $(addprefix --write-docs=,$(wildcard .casedb/bench-medium.json) \
		$(filter-out .casedb/bench-medium.json,$(wildcard .casedb/bench-*.json)))

requirements: venv-dev  ## Compile requirements/*.in into hashed files (needs uv)
	@for name in run build dev pgadmin; do uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-strip-extras --no-emit-index-url --no-header \
		requirements/$$name.in --output-file requirements/$$name.txt; done

clean:  ## Remove .venv and what the tools cached; the database and its backups stay
	@rm -rf .venv .venv.lock .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage

venv:
	@requirements/install.sh run

venv-dev:
	@requirements/install.sh dev
