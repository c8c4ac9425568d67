# Everything a newcomer needs is Python (3.11, 3.12 or 3.13), make and the package registries. `make help` lists the targets.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Without bytecode every process would compile everything that it imports, at every start.
unexport PYTHONDONTWRITEBYTECODE

# `make VENV=.venv-3.12 PYTHON=python3.12 …` keeps an environment beside the usual one.
VENV := .venv
PYTHON ?= $(shell requirements/find_python)
BIN := $(VENV)/bin
UV := $(BIN)/uv
STAMP := $(VENV)/.installed
RUNPOD_VENV := .venv-runpod
RUNPOD_STAMP := $(RUNPOD_VENV)/.installed
ARGS ?=

PYTEST := $(BIN)/pytest
TWO_AT_ONCE := -n 2 --dist worksteal
# A test on servers waits for more than half of its time, so two cores have room for four.
FOUR_AT_ONCE := -n 4 --dist worksteal
COMPILE := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(STAMP) ## make .venv from the locked, hashed requirements (instant when nothing changed)

# An environment is unfinished, its Python is gone or not one of ours or not the one asked for, or the checkout was moved.
ASKED_FOR = "$(if $(filter-out file,$(origin PYTHON)),$(PYTHON),$(BIN)/python)"
VERSION := import sys; print(*sys.version_info[:2]); sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
STALE := $(shell test ! -f $(VENV)/pyvenv.cfg || { \
	version=$$($(BIN)/python -c '$(VERSION)') && test "$$version" = "$$($(ASKED_FOR) -c '$(VERSION)')" && \
	test "$$(cat $(STAMP))" = "$$(pwd)"; } 2>/dev/null || echo stale)

.PHONY: stale
stale:
	@echo "removing $(VENV): it is unfinished, or of another Python, or the checkout was moved" >&2
	@rm -rf $(VENV)

$(UV): requirements/uv.txt $(STALE)
	@test -x $(BIN)/python || { python="$(PYTHON)"; test -n "$$python" || { \
		echo "Python 3.11, 3.12 or 3.13 with its venv module is needed, and none was found. Install it (on Debian and" \
			"Ubuntu: apt-get install python3-venv), or name it: make PYTHON=/path/to/python3.12 setup" >&2; exit 1; }; \
		echo "making $(VENV) with $$("$$python" --version)" >&2; "$$python" -m venv $(VENV); }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(STAMP): $(UV) requirements/dev.txt pyproject.toml
	@$(UV) pip sync -q --python $(BIN)/python --require-hashes requirements/dev.txt \
		|| { echo "uv failed: trying pip, which knows pip.conf" >&2; $(BIN)/python -m pip install -q --no-compile --require-hashes -r requirements/dev.txt; }
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import gengui_stream.dev.demo.command, gengui_stream.bootstrap as bootstrap; bootstrap.import_roles()'
	@pwd > $@

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
check: $(STAMP) ## format, lint, types, import contracts, stale generated files, Dockerfiles, docker-compose.yml, manifests, words
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m schemas.publish --check
	$(BIN)/python -m gengui_stream.settings.example --check
	$(BIN)/hadolint deploy/Dockerfile deploy/runpod/Dockerfile
	$(BIN)/python -m tests.deploy.compose_file
	$(BIN)/python -m tests.deploy.kubernetes.check
	$(BIN)/python -m tests.house_words

.PHONY: format
format: $(STAMP) ## format, fix what can be fixed, write the generated files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m schemas.publish
	$(BIN)/python -m gengui_stream.settings.example

.PHONY: kubernetes
kubernetes: $(STAMP) ## render deploy/kubernetes (for maintainers; kustomize or kubectl)
	@$(BIN)/python -m tests.deploy.kubernetes.rendering

.PHONY: test-unit
test-unit: $(STAMP) ## the tests that need no server; ARGS="-k name"
	$(PYTEST) $(TWO_AT_ONCE) -m "not stack" tests/unit tests/contracts $(ARGS)

.PHONY: test
test: $(STAMP) chromium pgbouncer tls-servers kafka kcat promtool ## every test but the slow ones, on the embedded stack, four at once; ARGS="-k name"
	$(PYTEST) $(FOUR_AT_ONCE) -m "not faults and not runpod" $(ARGS)

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

.PHONY: fuzz
fuzz: fuzz-batches fuzz-api fuzz-isolation ## 100,000 damaged record batches, 100,000 requests; FUZZ_SEED=7 FUZZ_MUTATIONS=1000000

.PHONY: fuzz-batches fuzz-api fuzz-isolation
fuzz-batches: $(STAMP)
	FUZZ_MUTATIONS=$${FUZZ_MUTATIONS:-100000} $(PYTEST) tests/unit/log/test_unpacking.py --timeout 1800 $(ARGS)

# Eight callers of the API, each with an eighth of the requests.
fuzz-api: $(STAMP) kafka
	CONFORMANCE_REQUESTS=$${CONFORMANCE_REQUESTS:-12500} $(PYTEST) $(TWO_AT_ONCE) tests/integration/api/conformance --timeout 36000 $(ARGS)

# Random actions of parties that must not see each other.
fuzz-isolation: $(STAMP) kafka
	ISOLATION_STEPS=$${ISOLATION_STEPS:-20000} $(PYTEST) tests/integration/api/isolation --timeout 36000 $(ARGS)

.PHONY: chaos
chaos: $(STAMP) ## 2,000 generations at each fake provider while it fails; ARGS="--provider gemini --count 200 --seed 7"
	$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: fault-schedule
fault-schedule: $(STAMP) ## 1,000 kills and pauses over every role and server, checked by an oracle; ARGS="--count 50 --seed 7 --json"
	$(BIN)/python -m tests.faults.schedule $(ARGS)

.PHONY: test-cluster
test-cluster: $(STAMP) kafka ## three brokers under the whole system, one after the other lost; ARGS="--seed 7 --seconds 20 --json"
	$(BIN)/python -m tests.cluster $(ARGS)

.PHONY: drill
drill: $(STAMP) ## a disaster under load, and the recovery (docs/recovery.md); ARGS="lose-postgres --events 1000000"
	$(BIN)/python -m tests.drills $(ARGS)

.PHONY: bench
bench: $(STAMP) ## measure against the baselines (docs/benchmarks.md)
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: chromium
chromium: # for the browser tests, which are skipped without it
	@command -v chromium chromium-browser google-chrome >/dev/null || { $(call install,chromium,the browser tests); }

.PHONY: kcat
kcat: # for the test of its partitioner, which fails without it
	@command -v kcat >/dev/null || { $(call install,kcat,the test with kcat); }

.PHONY: promtool
promtool: # for the tests of the alert rules, which are skipped without it
	@command -v promtool >/dev/null || { $(call install,prometheus,the tests of the alert rules); }

.PHONY: pgbouncer
pgbouncer: # for the tests of a pooler, which are skipped without it
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || { $(call install,pgbouncer,the tests of a pooler); }

.PHONY: tls-servers
tls-servers: # for the tests of TLS, which are skipped without them: those of the embedded stack have none
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || { $(call install,postgresql,the tests of PostgreSQL over TLS); }
	@command -v redis-server >/dev/null || { $(call install,redis-server,the tests of Redis over TLS); }

.PHONY: kafka
kafka: $(STAMP) # fetched before the tests, whose time is limited; without it they say what was skipped
	@$(BIN)/python -m gengui_stream.dev.kafka.installation || true

# $(1) from the system's packages, where that can be done; $(2) will be skipped otherwise. Debian starts the server of a
# package, unless policy-rc.d forbids it: tests start their own.
define install
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo "installing $(1) for $(2)" >&2; \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then trap 'rm -f /usr/sbin/policy-rc.d' EXIT; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; fi; \
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1); } >/dev/null \
		|| echo "$(1) could not be installed: $(2) will be skipped" >&2; \
else \
	echo "$(1) is missing: $(2) will be skipped (install it with your system's packages)" >&2; \
fi
endef

.PHONY: lock
lock: $(UV) ## renew requirements/*.txt from pyproject.toml; ARGS="--upgrade"
	$(COMPILE) $(ARGS) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) $(ARGS) --extra observe pyproject.toml -o requirements/runtime.txt
	$(COMPILE) $(ARGS) --all-extras -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt
	$(COMPILE) $(ARGS) deploy/runpod/requirements.in -o deploy/runpod/requirements.txt

.PHONY: lock-kafka
lock-kafka: $(STAMP) ## renew the list of Apache Kafka's jars from requirements/kafka-pom.xml (for maintainers; Maven)
	@$(BIN)/python -m gengui_stream.dev.kafka.lock_renewal

.PHONY: previous-release
previous-release: $(STAMP) ## keep a commit as the release that tests run beside this one; COMMIT=v1.2.0 (for maintainers)
	@$(BIN)/python -m tests.previous_release $(COMMIT)

.PHONY: clean
clean: ## remove .venv, caches and the development stack's data (.gengui)
	@case "$$(readlink .gengui/postgres || true)" in */gengui-stream*/*) rm -rf "$$(readlink .gengui/postgres)" ;; esac
	rm -rf $(VENV) .venv-* .gengui .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	rm -f demo-contact-sheet.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
