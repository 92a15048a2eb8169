# Everything a developer or a user needs; each target sets up what it depends on.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup check test test-full bench bench-openai bench-scale demo clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Ray's processes start slowly beside other work: a Ray test that fails is tried once more by itself, and has to pass then.
test: setup
	$(BIN)/python -m pytest -m "not ray"
	$(BIN)/python -m pytest -m ray || $(BIN)/python -m pytest -m ray --last-failed --last-failed-no-failures none

# The full-size crash matrix and chaos runs: about an hour.
test-full: setup
	RAYGEN_CRASH_RUNS=1000 RAYGEN_FULL=1 $(BIN)/python -m pytest --timeout=3600

bench: bench-openai bench-scale

bench-openai: setup
	$(BIN)/python -m benchmarks.openai_engine
	$(BIN)/python -m benchmarks.openai_run

bench-scale: setup
	$(BIN)/python -m benchmarks.scale

demo: setup
	$(BIN)/raygen data python-docs --to data/passages.parquet
	$(BIN)/raygen run jobs/python_docs_questions.yaml --max-rows 160
	$(BIN)/raygen show runs/python-docs-questions -n 3

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
