# The two commands of the README are `make demo` and `make test`. Both set up what they need, once.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SETTINGS := pyproject.toml constraints.txt
# A process for each core, of one thread: threads that wait for each other stall both. The slowest tests come last: who is done takes over some.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

.PHONY: demo test check types format test-all shapes doctest clean

demo: .venv/core  ## train on synthetic scenes, print scores before and after
	$(BIN)/patchwise demo $(DEMO)

test: check  ## lint, types, the whole plain test run
	$(PYTEST) -m "not slow"

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-all: check doctest shapes  ## slow tests, doctests and array shapes too
	$(PYTEST)

doctest: .venv/dev
	$(BIN)/python -m pytest --doctest-modules src

shapes: .venv/dev
	$(PYTEST) -m "not bad_input and not slow" \
	  --jaxtyping-packages="patchwise,beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

.venv/core: $(SETTINGS)
	$(PYTHON) -m venv .venv
	@echo "installing patchwise and its dependencies into .venv (a minute or two, once)"
	$(INSTALL) -e .
	touch $@

.venv/dev: .venv/core
	@echo "installing what the tests need into .venv"
	$(INSTALL) -e ".[dev,hub,timm]"
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
