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
clients := .venv-clients/.ready

.PHONY: serve test test-clients test-docker lint train image up clean

serve: $(ready)
	@echo "Open http://127.0.0.1:$(PORT) to draw a digit, and http://127.0.0.1:$(PORT)/docs to try every call."
	$(bin)/digits serve --port $(PORT)

test: $(ready)
	$(bin)/pytest -m "not docker"

# The clients of others, as their users install them: in an environment of their own.
test-clients: $(ready) $(clients)
	.venv-clients/bin/python -m pytest -c tests/clients/pytest.ini --rootdir . tests/clients

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
	rm -rf .venv .venv-clients build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# The marker is written last, so a set-up that was cut short is done again.
$(ready): pyproject.toml constraints.txt
	@echo "Setting up .venv, once. This takes a minute or two, mostly for TensorFlow."
	test -x $(bin)/pip || $(PYTHON) -m venv --clear .venv
	$(bin)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
	@echo "Set up."

$(clients): tests/clients/requirements.txt
	$(PYTHON) -m venv --clear .venv-clients
	.venv-clients/bin/pip install --disable-pip-version-check --requirement $<
	touch $@
