# Two commands on a fresh machine with Python 3.11+ and make: `make demo` and `make test`. The rest is for developers.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
ARGS ?=
PYTEST_ARGS ?=
PIP_ARGS ?=

.PHONY: help demo dev test test-services check format screenshots clean-venv

help:
	@echo "make demo           install, load real preference pairs, train, score on a worker, serve (ARGS=--no-serve stops before)"
	@echo "make test           the whole suite, with no service installed"
	@echo "make check          what CI checks before the tests: ruff, mypy, import-linter, djlint, migrations, deploy settings"
	@echo "make test-services  the suite on PostgreSQL and Redis (DATABASE_URL, REDIS_URL, or started from installed binaries)"
	@echo "make dev            web server and workers for work on a laptop"
	@echo "make screenshots    the pictures of README and docs, made by a browser from the demo"

demo: $(RUN_STAMP)
	@$(BIN)/python manage.py demo $(ARGS)

dev: $(RUN_STAMP)
	@$(BIN)/python manage.py dev $(ARGS)

test: $(DEV_STAMP)
	@echo "Running the tests on SQLite, with the embedded broker."
	@env -u DATABASE_URL -u REDIS_URL $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

test-services: $(DEV_STAMP)
	@$(BIN)/python -m tests.services $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

check: $(DEV_STAMP)
	@echo "ruff";          $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "mypy";          $(BIN)/mypy curator annotations scoring benchmarks tests
	@echo "import-linter"; $(BIN)/lint-imports --no-cache
	@echo "djlint";        $(BIN)/djlint --check --lint --quiet templates
	@echo "migrations";    $(BIN)/python manage.py makemigrations --check --dry-run
	@echo "deploy";        CURATOR_HTTPS=true SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format . ; $(BIN)/djlint --reformat --quiet templates

screenshots: $(DEV_STAMP)
	$(BIN)/python docs/screenshots.py $(ARGS)

clean-venv:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Curator needs Python 3.11 or newer; this is %s. Try make PYTHON=python3.12" % sys.version.split()[0])'
	@echo "Creating $(VENV) with $$($(PYTHON) --version)."
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): requirements.txt requirements-embedded.txt constraints.txt | $(BIN)/python
	@echo "Installing what Curator runs on into $(VENV) (torch is the large part; a minute or two)."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.txt -c constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-embedded.txt
	@touch $@

$(DEV_STAMP): requirements-dev.txt $(RUN_STAMP)
	@echo "Installing what the tests need."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements-dev.txt -c constraints.txt
	@touch $@
