# make demo   installs into .venv and compares five models on two data sets; the results come into demo/
# make test   installs what the tests need and runs them, but for those that take long
# make test-slow   runs those: laws learned to their standard errors, long chains, whole commands
# make test-nightly   damaged checkpoints and hostile tables, 500 of each, other ones each time

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow test-nightly clean

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

demo: $(VENV)/installed
	rm -rf demo
	$(BIN)/genflow compare --data two-moons digits --models jko-iflow cnf flow-matching score-sde nsf \
		--budget 14s --threads 1 --out demo

test: $(VENV)/installed-tests
	$(PYTEST) -m "not slow and not nightly"

test-slow: $(VENV)/installed-tests
	$(PYTEST) -m slow

test-nightly: $(VENV)/installed-tests
	$(PYTEST) -m nightly

clean:
	rm -rf $(VENV) demo build dist

# torch comes first and under its pin, so that nothing else decides which one is installed.
$(VENV)/torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch==2.13.0
	touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml $(shell find genflow -type f -not -name '*.pyc')
	$(INSTALL) --upgrade '.[all]'
	touch $@

# Tests import the checkout itself.
$(VENV)/installed-tests: $(VENV)/torch pyproject.toml
	$(INSTALL) -e '.[test]'
	touch $@
	touch $(VENV)/installed
