# Everything a newcomer needs is Python 3.11, make and the package registries. `make help` lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
STAMP := $(VENV)/.installed
RUNPOD_VENV := .venv-runpod
RUNPOD_STAMP := $(RUNPOD_VENV)/.installed
ARGS ?=

# The first of these that really is Python 3.11; `make PYTHON=/path/to/python3.11` overrides the search.
IS_311 := import sys; sys.exit(sys.version_info[:2] != (3, 11))
PYTHON ?= $(shell for python in python3.11 python3 python; do \
	"$$python" -c '$(IS_311)' >/dev/null 2>&1 && echo "$$python" && break; done)

PYTEST := $(BIN)/pytest
TWO_AT_ONCE := -n 2 --dist worksteal
COMPILE := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(STAMP) ## make .venv from the locked, hashed requirements (instant when nothing changed)

$(UV): requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed: none of python3.11, python3, python is it." \
		"Install it, or say where it is: make PYTHON=/path/to/python3.11 setup" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python's venv module does not work here" \
		"(on Debian and Ubuntu: apt-get install python3.11-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(STAMP): $(UV) requirements/dev.txt pyproject.toml
	@$(UV) pip sync -q --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: $(STAMP) ## the whole system once, end to end; ARGS="--count 200 --json"
	@$(BIN)/gengui-stream demo $(ARGS)

.PHONY: dev
dev: $(STAMP) ## the stack and every role, kept in .gengui/, API on port 3000, until Ctrl-C
	@$(BIN)/gengui-stream dev $(ARGS)

.PHONY: docker-up docker-down docker-logs
docker-up: docker ## the whole system in containers (docs/deployment.md), API on port 3001
	@docker compose up --detach $(ARGS)

docker-down: docker ## stop the containers; ARGS="--volumes" deletes their data
	@docker compose down $(ARGS)

docker-logs: docker ## follow the containers' logs; ARGS="api agents"
	@docker compose logs --follow $(ARGS)

.PHONY: docker
docker:
	@docker compose version >/dev/null 2>&1 || { echo "docker compose does not work here: install Docker Engine with its" \
		"compose plugin, 2.24 or newer. Without containers, make dev runs the same system." >&2; exit 1; }

.PHONY: check
check: $(STAMP) ## format, lint, types, import contracts, stale generated files, Dockerfiles, docker-compose.yml
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m schemas.publish --check
	$(BIN)/python -m gengui_stream.settings_example --check
	$(BIN)/hadolint deploy/Dockerfile deploy/runpod/Dockerfile
	$(BIN)/python -m tests.deploy.compose_file

.PHONY: format
format: $(STAMP) ## format, fix what can be fixed, write the generated files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m schemas.publish
	$(BIN)/python -m gengui_stream.settings_example

.PHONY: test
test: $(STAMP) chromium kafka ## every test but the slow ones, on the embedded stack, two at once; ARGS="-k name"
	$(PYTEST) $(TWO_AT_ONCE) -m "not faults and not runpod" $(ARGS)

.PHONY: test-runpod
test-runpod: $(STAMP) $(RUNPOD_STAMP) kafka ## the worker for RunPod Serverless under RunPod's own SDK
	$(PYTEST) -m runpod $(ARGS)

$(RUNPOD_STAMP): $(UV) deploy/runpod/requirements.txt
	@test -x $(RUNPOD_VENV)/bin/python || $(BIN)/python -m venv --without-pip $(RUNPOD_VENV)
	@$(UV) pip sync -q --python $(RUNPOD_VENV)/bin/python --require-hashes deploy/runpod/requirements.txt
	@touch $@

.PHONY: test-faults
test-faults: $(STAMP) ## processes and servers killed under load
	$(PYTEST) -m faults $(ARGS)

.PHONY: hell
hell: $(STAMP) ## 2,000 generations at each fake provider while it fails; ARGS="--provider gemini --count 200 --seed 7"
	$(BIN)/python -m tests.hell $(ARGS)

.PHONY: bench
bench: $(STAMP) ## measure against the baselines (docs/benchmarks.md)
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: chromium
chromium: # for the browser tests, which are skipped without it
	@command -v chromium chromium-browser google-chrome >/dev/null || { $(call install,chromium,the browser tests); }

.PHONY: kafka
kafka: $(STAMP) # fetched before the tests, whose time is limited; without it they say what was skipped
	@$(BIN)/python -m gengui_stream.dev.kafka.installation || true

# $(1) from the system's packages, where that can be done; $(2) will be skipped otherwise.
define install
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo "installing $(1) for $(2)" >&2; \
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1); } >/dev/null \
		|| echo "$(1) could not be installed: $(2) will be skipped" >&2; \
else \
	echo "$(1) is missing: $(2) will be skipped (install it with your system's packages)" >&2; \
fi
endef

.PHONY: lock
lock: $(UV) ## renew requirements/*.txt from pyproject.toml; ARGS="--upgrade"
	$(COMPILE) $(ARGS) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) $(ARGS) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) $(ARGS) --all-extras -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt
	$(COMPILE) $(ARGS) deploy/runpod/requirements.in -o deploy/runpod/requirements.txt

.PHONY: lock-kafka
lock-kafka: $(STAMP) ## renew the list of Apache Kafka's jars from requirements/kafka-pom.xml (for maintainers; Maven)
	@$(BIN)/python -m gengui_stream.dev.kafka.lock_renewal

.PHONY: clean
clean: ## remove .venv, caches and the development stack's data (.gengui)
	@case "$$(readlink .gengui/postgres || true)" in */gengui-stream*/*) rm -rf "$$(readlink .gengui/postgres)" ;; esac
	rm -rf $(VENV) $(RUNPOD_VENV) .gengui .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	rm -f demo-contact-sheet.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
