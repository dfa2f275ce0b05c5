# `make run` brings the whole product up on this machine; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
export PYTHON

.PHONY: help setup run test tlstest torture check format demo bench bench-check lock clean

MINUTES ?= 30

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: ## install what is missing; quick when nothing is
	@ops/stack/setup.sh

run: setup ## start everything, print the addresses and logins; Ctrl-C stops it all
	@exec $(BIN)/athena up

# Twice as many workers as cores: the tests on real servers mostly wait. The bytecode is kept, whatever the machine is used to do:
# each process would compile it anew, and each worker all of the tests.
TESTS := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 4 --dist loadgroup --no-loadscope-reorder

test: ## every test, those on the real broker and database included
	@ops/stack/setup.sh --tests
	$(BIN)/python -m tests.vectors
	$(TESTS)

tlstest: ## the tests on real servers again, with TLS and certificates between all of them (about 15 minutes)
	@ops/stack/setup.sh --tests
	ATHENA_TEST_TLS=1 $(TESTS) tests/integration tests/access_matrix tests/fuzz tests/e2e

torture: setup ## break a real stack in every way, MINUTES=30 of it; SEED=n repeats a run
	$(BIN)/python -m tests.faults.torture --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

check: setup ## formatting, lint, types, import rules, schema drift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m ops.drift --check

format: setup ## format, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: setup ## drive a story through HTTP against a fresh stack
	$(BIN)/python -m ops.demo

bench: setup ## measure into build/bench: tables and plots; NAMES="path worker" some of it, LONG=1 for hours
	$(BIN)/python -m ops.bench.experiments $(if $(LONG),--long) $(NAMES)

bench-check: setup ## whether a request costs more CPU than it did, over what a bare server costs beside it
	$(BIN)/python -m ops.bench.check

lock: setup ## pin the Python packages anew (needs uv on PATH)
	echo 'setuptools>=75' | uv pip compile pyproject.toml - --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --upgrade --quiet --output-file requirements.lock
	cd .dist/kafka && sha256sum *.jar > ../../ops/kafka/jars.sha256

clean: ## remove what setup, tests and tools made; not the data in .athena
	rm -rf .venv .dist build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
