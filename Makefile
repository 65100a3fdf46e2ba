# Every target sets up what it needs, once. `make serve` needs nothing but Python 3.11 or newer.
PYTHON ?= python3
PORT ?= 8000
RECIPE ?= default

bin := .venv/bin
ready := .venv/.ready

.PHONY: serve test lint train clean

serve: $(ready)
	$(bin)/uvicorn --factory app.main:create_app --port $(PORT) --no-server-header --timeout-graceful-shutdown 10

test: $(ready)
	$(bin)/pytest

lint: $(ready)
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

train: $(ready)
	$(bin)/python -m training fit $(RECIPE)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# The marker is written last, so a set-up that was cut short is done again.
$(ready): pyproject.toml constraints.txt
	test -x $(bin)/pip || $(PYTHON) -m venv --clear .venv
	$(bin)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
