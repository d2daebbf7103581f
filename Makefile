# `make demo` and `make test` each do all the set-up they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-all check bench clean
demo: $(VENV)/ready            ## pull a base, give it a personality, prove it, write a report
	$(BIN)/mien demo

# The tests run in two processes, with a thread each: threads that wait for each other would keep the
# other process from its work.
TESTS := -n 2 --dist loadfile
test test-all: export OMP_NUM_THREADS = 1
test: $(VENV)/ready            ## all tests but the slow ones
	$(BIN)/python -m pytest $(TESTS) -m "not slow"

test-all: $(VENV)/ready        ## all tests, the slow ones too
	$(BIN)/python -m pytest $(TESTS)

check: $(VENV)/ready           ## lint, types, layers
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready           ## side by side with TRL; an hour and a half
	$(BIN)/python bench/sft.py
	$(BIN)/python bench/dpo.py
	$(BIN)/python bench/ppo.py

clean:                         ## remove the environment and caches, not your runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info src/*.egg-info

# Installed from the lock file, so that every machine runs the same versions.
$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
