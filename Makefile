# Eight targets; each makes its own environment in .venv from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests, a file at a time; each computes with one thread.
WORKERS ?= 2

.PHONY: demo test test-all torture lint baseline bench clean

demo: $(STAMP)
	$(BIN)/omnial-bench demo --out demo-run

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow"

# With the slow ones: kills, clusters, trainings from nothing, other platforms.
test-all: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# The tests of killed runs, at fifty moments in place of a few, and twice as many damaged files.
torture: $(STAMP)
	TORTURE=50 $(BIN)/python -m pytest tests/test_crash.py tests/test_fuzz.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The rows that tests/test_gate.py holds; a commit of its own, with the reason.
baseline: $(STAMP)
	$(BIN)/python tests/gate_runs.py baseline

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo-run dist build .mypy_cache .ruff_cache .pytest_cache

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)
