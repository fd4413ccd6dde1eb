# Needs only Debian's python3 (3.11 or newer), python3-venv and make.  Everything else comes from requirements/*.txt,
# every file checked against its hash.
#
#   make demo         a simulated modem, the bridge and a scripted host; no hardware
#   make test         all tests, with branch coverage
#   make check        lint, format, types, mapping tables, the example configuration, unit files
#   make bench        latency and goodput; prints a table, writes bench.json
#   make acceptance   two links, 100 kB each way, over a modem with 1 s guards; five links, 20 kB each way, on every module
#   make soak         sessions with a simulated SKT module that shares no line with the bridge, by seed, with every fault; half an hour
#   make venv         only the environment: .venv/bin/at-bridge
#   make requirements compile requirements/*.txt again from *.in
#   make clean

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
BENCH_ARGS ?=
SOAK_ARGS ?= --seeds 0:3

.PHONY: demo test check bench acceptance soak venv requirements clean

demo: $(VENV)/run.stamp
	$(PY) -m bridge demo

test: $(VENV)/dev.stamp
	$(PY) -bb -W error -m coverage run --branch -m pytest
	$(PY) -m coverage report

# The units as they are installed; without systemd there is nothing to ask.
CHECK_UNITS = command -v systemd-analyze >/dev/null || { echo "no systemd-analyze: units are not checked"; exit 0; }; \
	for more in "" --network; do \
		root=$$(mktemp -d) && unit="$$root/etc/systemd/system/at-bridge@.service" && \
		$(PY) -m bridge install --root "$$root" --program /usr/bin/true $$more >/dev/null && \
		systemd-analyze verify --recursive-errors=no "$$unit" && \
		systemd-analyze security --offline=yes --threshold=20 "$$unit" | tail -n 1 && rm -r "$$root" || exit 1; \
	done

check: $(VENV)/dev.stamp
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict
	$(PY) -m bridge check
	$(PY) -m bridge check -c systemd/bridge.toml
	@$(CHECK_UNITS)

bench: $(VENV)/dev.stamp
	$(PY) -m bench $(BENCH_ARGS)

acceptance: $(VENV)/dev.stamp
	AT_BRIDGE_ACCEPT_BYTES=100000 $(PY) -bb -W error -m pytest -v tests/test_acceptance.py
	AT_BRIDGE_ACCEPT_BYTES=20000 $(PY) -bb -W error -m pytest -v tests/test_acceptance_links.py

soak: $(VENV)/dev.stamp
	cd tests && ../$(PY) -bb -W error -m second_opinion $(SOAK_ARGS)

venv: $(VENV)/run.stamp

# What runs the bridge, and the checkout itself as an editable install.
$(VENV)/run.stamp: requirements/run.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "at-bridge needs Python 3.11 or newer; choose one: make PYTHON=python3.11"; exit 1; }
	@echo "== creating $(VENV)"
	$(PYTHON) -m venv --clear $(VENV)
	@echo "== installing what the bridge needs (hashed, requirements/run.txt and build.txt)"
	$(PIP) install --require-hashes -r requirements/run.txt -r requirements/build.txt
	@echo "== installing the checkout itself"
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# What tests and checks need on top, and the host driver that tests/test_real_host.py runs.
$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.txt requirements/host.txt
	@echo "== installing the tools (hashed, requirements/dev.txt)"
	$(PIP) install --require-hashes -r requirements/dev.txt
	@echo "== installing the host driver of the tests (hashed, requirements/host.txt)"
	$(PIP) install --require-hashes --no-deps -r requirements/host.txt
	@touch $@

# Needs pip-tools on the path; not part of the environment because nothing else uses it.
COMPILE = pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links
requirements:
	$(COMPILE) -o requirements/run.txt requirements/run.in
	$(COMPILE) -o requirements/build.txt requirements/build.in
	$(COMPILE) -o requirements/dev.txt requirements/dev.in

clean:
	rm -rf $(VENV) build dist bench.json .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
