# Everything runs from .venv, which scripts/setup.sh makes and `uv run` would change: it knows
# nothing of the CPU build of torch that setup.sh prefers, and would replace it.
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup cluster media run test test-all lint docs-check clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## install what is missing: uv, libopus, the packages; GPU=1: torch with CUDA, 3 GB

ifeq ($(GPU),1)
export TORCH_BUILD := default
# Whatever was ready before, perhaps with the CPU build.
.PHONY: $(READY)
endif

$(READY): pyproject.toml requirements.lock scripts/setup.sh
	@scripts/setup.sh
	@touch $@

cluster: $(READY) ## install Ray too, for docs/deployment.md#ray-cluster
	@scripts/setup.sh cluster

media: $(READY) ## install PyAV too, which reads m4a, mp4, aac and webm
	@scripts/setup.sh media

run: $(READY) ## start the service; flags of `fast-vc serve` by ARGS="…"
	@$(BIN)/fast-vc serve $(ARGS)

test: $(READY) ## run the fast tests; flags of pytest by ARGS="…"
	$(BIN)/python -m pytest $(ARGS)

test-all: $(READY) ## run all tests, the slow ones too
	$(BIN)/python -m pytest -m "slow or not slow" $(ARGS)

lint: $(READY) ## style, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs-check: $(READY) ## whether the docs, the lock and the generated pages say what the code does
	$(BIN)/python scripts/lock.py --check
	$(BIN)/python scripts/configuration.py --check
	$(BIN)/python scripts/protocol.py --check
	$(BIN)/python -m benchmarks.tables --check
	$(BIN)/python -m benchmarks.tables --check --page README.md
	$(BIN)/python -m benchmarks.tables --check --page README_ZH.md
	$(BIN)/python scripts/check_docs.py

clean: ## remove what `make` and the tools made; logs: `fast-vc clean`
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
