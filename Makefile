# `make demo` and `make test` each do all the set-up they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCUST := $(VENV)/load/bin/locust

.PHONY: demo test test-all test-vllm storm check bench clean
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

test-vllm: $(VENV)/ready       ## the gateway before a real vLLM, in an environment of its own (3.4 GB)
	$(BIN)/python bench/vllm_cpu.py
	$(BIN)/python -m pytest tests/serve/test_vllm.py

storm: $(VENV)/ready $(LOCUST) ## serving: storms, load, fuzz; a quarter of an hour
	MIEN_LOCUST=$(LOCUST) $(BIN)/python -m pytest -s -m slow tests/serve/test_storm.py \
	    tests/serve/test_load.py tests/serve/test_fuzz.py

check: $(VENV)/ready           ## lint, types, layers
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready           ## side by side with TRL, PEFT, llama.cpp and vLLM; two hours
	$(BIN)/python bench/sft.py
	$(BIN)/python bench/dpo.py
	$(BIN)/python bench/ppo.py
	$(BIN)/python bench/serve.py

clean:                         ## remove the environment and caches, not your runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info src/*.egg-info

# Locust patches what it is installed beside, so it has an environment of its own.
$(LOCUST): | $(VENV)/ready
	$(PYTHON) -m venv $(VENV)/load
	$(VENV)/load/bin/python -m pip install --quiet "locust==2.47.*"

# Installed from the lock file, so that every machine runs the same versions.
$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
