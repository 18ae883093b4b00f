# quickstart and test are the two commands of the README; both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart test lint clean
.DELETE_ON_ERROR:

# One cell of this matrix cannot pass, on purpose, so `run` exits with 1; anything else is a real
# failure of the quickstart. The vLLM installed here is the CPU build, so GPUs are hidden.
quickstart: .venv/.run
	CUDA_VISIBLE_DEVICES= $(BIN)/slidesparse run --fresh matrices/quickstart.yaml; code=$$?; \
	  $(BIN)/slidesparse report && echo "slidesparse run exited with $$code (1 is meant: see the report)" && \
	  test $$code -eq 1

test: .venv/.dev lint
	$(BIN)/pytest -q -n 2 -m "not vllm"
	$(BIN)/pytest -q -m vllm

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# torch goes first and with its dependencies, so that whatever build of it the index offers is
# whole; everything else is pinned to the last distribution (scripts/lock.py).
.venv/.run: requirements/torch.txt requirements/run.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements/torch.txt
	$(PIP) --no-deps -r requirements/run.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

.venv/.dev: .venv/.run requirements/dev.txt
	$(PIP) --no-deps -r requirements/dev.txt
	touch $@

clean:
	rm -rf .venv
