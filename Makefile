# Every target sets up what it needs, once. `make serve` needs nothing but Python 3.11 or newer.
PYTHON ?= python3
PORT ?= 8000
RECIPE ?= default
TAG ?= latest
# For instance --network=host, where only the host reaches the package index.
BUILD_OPTIONS ?=
COMPOSE ?= docker compose

bin := .venv/bin
ready := .venv/.ready

.PHONY: serve test test-docker lint train image up clean

serve: $(ready)
	@echo "Digits serves at http://127.0.0.1:$(PORT), and explains itself at http://127.0.0.1:$(PORT)/docs."
	$(bin)/digits serve --port $(PORT)

test: $(ready)
	$(bin)/pytest -m "not docker"

test-docker: $(ready)
	$(bin)/pytest -m docker --numprocesses 0 tests/e2e/test_docker.py

lint: $(ready)
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

train: $(ready)
	$(bin)/python -m training fit $(RECIPE)

image:
	docker build $(BUILD_OPTIONS) --target serve --tag digits:$(TAG) .
	docker build $(BUILD_OPTIONS) --target train --tag digits-train:$(TAG) .

up: image
	DIGITS_TAG=$(TAG) $(COMPOSE) up --detach

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# The marker is written last, so a set-up that was cut short is done again.
$(ready): pyproject.toml constraints.txt
	@echo "Setting up .venv, once. This takes a minute or two, mostly for TensorFlow."
	test -x $(bin)/pip || $(PYTHON) -m venv --clear .venv
	$(bin)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
	@echo "Set up."
