# Every task of the project; each installs what it needs into $(VENV), once.
#
#     make test PYTHON=python3.12 VENV=.venv-3.12

PYTHON ?= python3
VENV ?= .venv
SECONDS_TO_FUZZ ?= 60

packages := smtpstate $(notdir $(wildcard src/adapters/smtpstate_*))
run := $(VENV)/bin/python
install := $(run) -m pip install -qq --disable-pip-version-check --editable

.PHONY: help demo test check fuzz bench interop diagram clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     watch smtpstate deliver a message to a server of its own"
	@echo "make test     run the tests"
	@echo "make check    run every gate: format, lint, types, tests with coverage, wheel, a short fuzz"
	@echo "make fuzz     feed arbitrary octets for SECONDS_TO_FUZZ=$(SECONDS_TO_FUZZ) seconds"
	@echo "make bench    measure beside other clients; BENCH=quick for a rough idea in under three minutes"
	@echo "make interop  deliver to a real Postfix and a real Dovecot (as root, on Debian 12; installs them)"
	@echo "make diagram  print the state diagram into the README and docs again"
	@echo "make clean    remove what the others have made"
	@echo "PYTHON=$(PYTHON) and VENV=$(VENV) can be chosen."

$(run):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "smtpstate needs Python 3.11 or later; choose one with PYTHON=")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo $(VENV)/.test $(VENV)/.dev: pyproject.toml | $(run)
	@echo "installing into $(VENV) (once)"
	@$(install) '.[$(subst demo,cli,$(subst .,,$(suffix $@)))]'
	@touch $@

demo: $(VENV)/.demo
	@$(VENV)/bin/smtpstate demo

test: $(VENV)/.test
	@$(run) -m pytest --quiet --numprocesses=2 --dist=worksteal

check: $(VENV)/.dev
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/mypy --no-error-summary
	@$(VENV)/bin/pyright --pythonpath $(run)
	@for package in $(packages); do \
		PATH="$(abspath $(VENV))/bin:$$PATH" $(VENV)/bin/pyright --ignoreexternal --verifytypes $$package >$(VENV)/types.txt \
		|| { cat $(VENV)/types.txt; exit 1; }; \
	done
	@$(VENV)/bin/coverage run -m pytest --quiet tests/test_*.py  # the adapters' tests cover nothing more
	@$(VENV)/bin/coverage report
	@fuzz/run --python $(run) --seconds 5

fuzz: $(VENV)/.dev
	@fuzz/run --python $(run) --seconds $(SECONDS_TO_FUZZ)

$(VENV)-bench/.peers: pyproject.toml benchmarks/install
	@echo "installing into $(VENV)-bench (once)"
	@benchmarks/install $(PYTHON) $(VENV)-bench

bench: $(VENV)-bench/.peers
	@NODE_PATH=$(VENV)-bench/node/node_modules $(VENV)-bench/bin/python benchmarks/run.py \
		$(if $(filter quick,$(BENCH)),--quick,--chart docs/benchmarks.svg --page docs/benchmarks.md)

interop: $(VENV)/.test
	@tests/interop/install
	@$(run) -m pytest --quiet tests/interop/*_cases.py

diagram: $(VENV)/.test
	@$(run) docs/diagram.py

clean:
	@rm -rf $(VENV) $(VENV)-bench .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist fuzz/corpus fuzz/findings
