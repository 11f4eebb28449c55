# `make train` and `make test` do all set-up themselves, and are quick when it is done.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: train test test-all fuzz torture accelerator bench lint types fmt clean

train: .venv/.done
	$(PY) train.py -c config.json $(ARGS)

test: .venv/.done
	$(PY) -m pytest -n 2 $(ARGS)

# Also the tests that repeat an expensive check with other values.
test-all: test
	$(PY) -m pytest -n 2 -m slow $(ARGS)

# Thousands of broken and hostile configs and checkpoints; `make test` takes a fixed share of them.
fuzz: .venv/.done
	FUZZ=all $(PY) -m pytest -n 2 -m '' tests/fuzz -rP $(ARGS)

# Hundreds of kills, signals, full disks and flipped bytes; `make test` takes a fixed share of them.
torture: .venv/.done
	TORTURE=all $(PY) -m pytest -n 2 -m '' tests/torture \
		tests/utils/project/test_upgrade_random.py -rP $(ARGS)

# What needs an accelerator; STAND_IN=cpu or simulated does without. See tests/accelerator.
accelerator: .venv/.done
	ACCELERATOR_STAND_IN=$(STAND_IN) $(PY) -m pytest -n 0 -m '' tests/accelerator $(ARGS)

# Compares with other frameworks, which it installs. ARGS: see tests/benchmarks.
bench: .venv/.done
	$(PY) -m pip install --quiet --disable-pip-version-check ".[bench]"
	$(PY) -m tests.benchmarks $(ARGS)

lint: .venv/.done
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports

types: .venv/.done
	$(PY) -m mypy .

fmt: .venv/.done
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

.venv/.done: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1)
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check ".[dev]"
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
