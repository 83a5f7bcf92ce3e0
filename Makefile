# make demo       boot a local fleet and deploy 1.0 on it
# make test       lint, unit, functional (Salt 3008 and 3006), apps, daemons, real machines: all but the long sweeps
# make down       remove everything that demo and tests have made
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
VENV_3006 := .venv-3006
PYTEST_FLAGS ?=
# A fleet for each worker, and the tests of a file on one fleet (tests/fleet/conftest.py).
FLEETS := --numprocesses=3 --dist=loadfile --no-loadscope-reorder
# Tests start Python a thousand times: without byte code it would compile everything each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-long test-bare test-quick test-3006 test-fleet test-vagrant bench lint down prepare venv venv-3006

help:
	@sed -n 's/^# \(make .*\)/\1/p' $(MAKEFILE_LIST)

demo:
	@lab/demo

down:
	@lab/fleet down --all

test: lint dist venv venv-3006
	@tests/fleet/beside.sh

# make test-long  the long sweeps on real machines, such as a deploy that is cut at each of 60 points
test-long: dist venv
	@$(VENV)/bin/pytest $(PYTEST_FLAGS) -m long $(FLEETS) tests/fleet

# make test-bare  all that needs no machines: test-3006, test-quick, the daemons, images and pods
test-bare: test-3006 test-quick
	@$(VENV)/bin/pytest $(PYTEST_FLAGS) tests/integration tests/containers

# make test-quick  the apps, unit tests (with their coverage) and functional tests: no daemons, no machines
# Tests of globolib wait for processes much of their time: six at once keep two processors busy. What random cases
# cover is left to chance, so those count for no coverage; without it they take half as long.
GLOBOLIB := --numprocesses=6 --dist=worksteal tests/unit/globolib
test-quick: dist venv
	@$(VENV)/bin/pytest $(PYTEST_FLAGS) -m 'not hypothesis' --cov=globolib --cov-branch --cov-fail-under=95 \
		--cov-report=term:skip-covered $(GLOBOLIB)
	@$(VENV)/bin/pytest $(PYTEST_FLAGS) -m hypothesis $(GLOBOLIB)
	@$(VENV)/bin/pytest $(PYTEST_FLAGS) --numprocesses=2 --ignore=tests/unit/globolib \
		tests/app tests/unit tests/functional

# make test-fleet  the tests on real machines (root and cgroups are needed), but for the long sweeps
test-fleet: dist venv
	@$(VENV)/bin/pytest $(PYTEST_FLAGS) -m 'not long' $(FLEETS) tests/fleet

# make test-vagrant  test the Vagrantfile in LXC containers
test-vagrant: dist
	@lab/test-vagrant

# make bench      measurements, not tests (bench/README.md), on machines of its own: an hour and a quarter; writes bench/RESULTS.md
bench: dist venv
	@bench/compare.py --keep
	@bench/phases.py --keep
	@bench/rest.py --keep
	@bench/faults.py --keep
	@bench/growth.py
	@bench/records.py

# make test-3006  unit and functional tests on Salt 3006 LTS; globolib's are left out: it imports nothing of Salt's
test-3006: dist venv-3006
	@$(VENV_3006)/bin/pytest $(PYTEST_FLAGS) --numprocesses=2 --ignore=tests/unit/globolib tests/unit tests/functional

# make lint       ruff, mypy, import-linter, yamllint, salt-lint, shellcheck
lint: venv
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --diff .
	@$(VENV)/bin/mypy
	@PYTHONPATH=salt/_utils $(VENV)/bin/lint-imports
	@git ls-files '*.yml' '*.yaml' '.yamllint' 'etc/m*.d/*.conf' | xargs -r $(VENV)/bin/yamllint --strict
	@git ls-files '*.sls' | xargs -r $(VENV)/bin/salt-lint
	@git ls-files '*.sh' .ci/run docs/pictures/make docs/pictures/session | xargs -r $(VENV)/bin/shellcheck

venv:
	@lab/venv $(VENV) tests/requirements.txt

venv-3006:
	@lab/venv $(VENV_3006) tests/requirements.txt 'salt~=3006.28'

prepare:
	@lab/prepare

include tools/dist.mk
$(TOOLS)/bin/pip: | prepare
