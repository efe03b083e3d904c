# Everything that people and CI run. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
# More arguments for pytest: make test TESTS="tests/lab -k ports"
TESTS ?=

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/.done ## The environment in .venv, from pinned and hashed requirements

.PHONY: demo
demo: setup prerequisites ## A minute of payments through everything, on servers of its own
	$(BIN)/enrichment demo

.PHONY: story
story: setup prerequisites ## A path let in on evidence and taken out again, told by commands (some ten minutes; story/)
	$(BIN)/enrichment story

.PHONY: hour
hour: setup prerequisites ## A newcomer's hour: what the tutorial and "your own stream" say, typed in a fresh clone (half an hour; hour/)
	$(BIN)/python -m tests.docs.hour

.PHONY: test
test: setup peers prerequisites toxiproxy ## All tests, on servers of their own (TESTS="tests/lab -k ports" for some, "-n 0" for one process)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

.PHONY: contract
contract: setup ## What every provider must keep, as a grid: provider by test case
	$(BIN)/python -m pytest tests/contract/test_providers.py --quiet --junit-xml .state/contract.xml
	$(BIN)/python -m tests.contract.grid .state/contract.xml

# How long and how hard: the short form, with 3 kills, is part of `make test`.
KILLS ?= 20
EVENTS ?= 1000000
# More arguments for the table of faults: --only kills --times 5 --json faults.json, or --help.
FAULTS ?=

.PHONY: simulate
simulate: setup ## Windows (SEEDS=200), then everything (SEEDS=10000), through seeded worlds of trouble
	SEEDS=$(or $(SEEDS),200) $(BIN)/python -m pytest tests/window/test_simulation.py $(TESTS)
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),10000)

.PHONY: storm
storm: setup prerequisites ## Window workers that come and go under load (CHANGES=30)
	CHANGES=$(or $(CHANGES),30) $(BIN)/python -m pytest tests/faults/test_window_storm.py $(TESTS)

.PHONY: faults
faults: setup prerequisites toxiproxy ## Stages and servers killed at length (KILLS=20 EVENTS=1000000), then every fault as a table (FAULTS="--only kills")
	KILLS=$(KILLS) EVENTS=$(EVENTS) $(BIN)/python -m pytest tests/faults $(TESTS)
	$(BIN)/python -m tests.faults $(FAULTS)

SECONDS ?= 60

.PHONY: fuzz
fuzz: setup ## Fuzz the hot path, guided by coverage (SECONDS=60); atheris joins the environment
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements/fuzz.txt
	$(BIN)/python -m tests.enrich.fuzz $(SECONDS)

.PHONY: fuzz-api
fuzz-api: setup .venv-fuzz-api/.done ## Fuzz the console's HTTP API by its OpenAPI document (schemathesis; minutes)
	$(BIN)/python -m tests.console.fuzz .venv-fuzz-api/bin/schemathesis

.PHONY: lint
lint: setup ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: format
format: setup ## Put the format right, and what ruff can mend safely
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: setup ## mypy, strictly
	$(BIN)/mypy

.PHONY: imports
imports: setup ## The rooms' contracts: who may import whom
	$(BIN)/lint-imports

.PHONY: schemas
schemas: setup ## Generated schemas equal the committed ones and stay BACKWARD compatible
	$(BIN)/enrichment schemas check

.PHONY: bench
bench: setup peers prerequisites ## All benchmarks; tables here, JSON in bench-results/, plots for the docs
	mkdir -p bench-results
	$(BIN)/enrichment bench all --runs 5 --json bench-results/ --plots docs/plots/

.PHONY: docs
docs: setup .venv-docs/.done ## The pages as a site in site/; a link that leads nowhere ends it
	$(BIN)/enrichment docs reference --check
	.venv-docs/bin/sphinx-build --quiet --fail-on-warning --keep-going -b html docs site
	@echo "site/index.html"

.PHONY: peers
peers: .venv-peers/.done ## Quix Streams beside, for benchmarks: it needs an older client than we do

.PHONY: feast
feast: .venv-feast/.done ## Feast beside, for `enrichment bench client` alone; neither tests nor CI need it

.PHONY: prerequisites
prerequisites: ## java, mvn and redis-server: installed where missing and allowed
	@scripts/prerequisites servers

.PHONY: toxiproxy
toxiproxy: ## Toxiproxy in .tools, built where there is a go: without it tests that cut the network are skipped
	@scripts/prerequisites faults

.PHONY: chromium
chromium: ## Chromium, installed where missing and allowed: without it tests of the console's page are skipped
	@scripts/prerequisites browser

.PHONY: requirements
requirements: $(UV) ## Compile requirements/ anew from pyproject.toml
	$(UV) pip compile --quiet pyproject.toml --extra all --group dev --universal \
	  --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
	  --output-file requirements/all.txt
	$(UV) pip compile --quiet pyproject.toml --extra stream --extra window --extra sample \
	  --extra registry --extra otlp --extra console --constraint requirements/all.txt --universal \
	  --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
	  --output-file requirements/image.txt
	echo 'hatchling>=1.27' | $(UV) pip compile --quiet - --constraint requirements/all.txt --universal \
	  --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
	  --output-file requirements/build.txt
	$(UV) pip compile --quiet --group docs --universal \
	  --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
	  --output-file requirements/docs.txt
	$(UV) pip compile --quiet pyproject.toml --extra bench --universal \
	  --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
	  --output-file requirements/peers.txt
	$(UV) pip compile --quiet --group feast --universal \
	  --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
	  --output-file requirements/feast.txt
	$(UV) pip compile --quiet --group fuzz --universal \
	  --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
	  --output-file requirements/fuzz.txt
	$(UV) pip compile --quiet --group fuzz-api --universal \
	  --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
	  --output-file requirements/fuzz-api.txt
	$(UV) pip compile --quiet --group audit --universal \
	  --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
	  --output-file requirements/audit.txt

.PHONY: sbom
sbom: setup .venv-audit/.done ## What we are made of, as CycloneDX in sbom/: pinned with hashes, and installed with licences
	mkdir -p sbom
	.venv-audit/bin/cyclonedx-py requirements requirements/all.txt --pyproject pyproject.toml \
	  --output-reproducible --output-file sbom/pinned.cdx.json
	.venv-audit/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
	  --output-reproducible --output-file sbom/installed.cdx.json

.PHONY: audit
audit: .venv-audit/.done ## Known vulnerabilities of everything pinned; asks osv.dev, so not where only registries are reached
	.venv-audit/bin/pip-audit --strict --require-hashes --disable-pip --vulnerability-service osv \
	  --requirement requirements/all.txt

.PHONY: clean
clean: ## Remove caches and environments; servers' data in .state stay
	rm -rf .venv .venv-peers .venv-audit .venv-feast .venv-docs .venv-fuzz-api site .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(UV): requirements/tools.txt
	@scripts/prerequisites python
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  --requirement requirements/tools.txt
	@touch $(UV)

.venv/.done: $(UV) requirements/all.txt pyproject.toml
	@test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11,<3.14' .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/all.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.venv-audit/.done: $(UV) requirements/audit.txt
	@test -x .venv-audit/bin/python || $(UV) venv --quiet --python '>=3.11,<3.14' .venv-audit
	$(UV) pip sync --quiet --python .venv-audit/bin/python --require-hashes requirements/audit.txt
	@touch $@

.venv-fuzz-api/.done: $(UV) requirements/fuzz-api.txt
	@test -x .venv-fuzz-api/bin/python || $(UV) venv --quiet --python '>=3.11,<3.14' .venv-fuzz-api
	$(UV) pip sync --quiet --python .venv-fuzz-api/bin/python --require-hashes requirements/fuzz-api.txt
	@touch $@

.venv-peers/.done: $(UV) requirements/peers.txt pyproject.toml
	@test -x .venv-peers/bin/python || $(UV) venv --quiet --python '>=3.11,<3.14' .venv-peers
	$(UV) pip sync --quiet --python .venv-peers/bin/python --require-hashes requirements/peers.txt
	@touch $@

.venv-feast/.done: $(UV) requirements/feast.txt
	@test -x .venv-feast/bin/python || $(UV) venv --quiet --python '>=3.11,<3.14' .venv-feast
	$(UV) pip sync --quiet --python .venv-feast/bin/python --require-hashes requirements/feast.txt
	@touch $@

.venv-docs/.done: $(UV) requirements/docs.txt
	@test -x .venv-docs/bin/python || $(UV) venv --quiet --python '>=3.11,<3.14' .venv-docs
	$(UV) pip sync --quiet --python .venv-docs/bin/python --require-hashes requirements/docs.txt
	@touch $@
