# Every target does its own set-up. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
# One test run is two processes wide: training tests take seconds of CPU each.
WORKERS ?= 2
export PYTHONWARNINGS ?= ignore::FutureWarning

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format unit e2e browser tools web test-gpu clean

help:  ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## Put everything into .venv (done by every other target)
	@$(PYTHON) requirements/install.py

demo: setup  ## Watch two 4-GPU DeepSpeed runs share an 8-GPU box (simulated where there is none)
	@$(BIN)/python -m berth.demo $(DEMO)

test: check tools unit web e2e browser  ## Everything CI runs: checks, unit, end-to-end and browser tests
	@echo "All passed."

check: setup  ## Lint, formatting, types, import directions
	@echo "Checking style, types and import directions"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --level error
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python clients/web/build.py --check

format: setup  ## Format and apply safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/python clients/web/build.py --format

unit: tools  ## Unit, property and component tests
	@echo "Unit, property and component tests"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -q --ignore=tests/e2e --ignore=tests/faults --ignore=tests/browser --ignore=tests/gpu

e2e: setup  ## End-to-end and fault tests against real processes
	@echo "End-to-end and fault tests: real server, worker, launchers and kill -9"
	@$(BIN)/python -m pytest -q tests/e2e tests/faults

web: setup  ## Build the dashboard (quick when nothing changed)
	@echo "Building the dashboard"
	@$(BIN)/python clients/web/build.py

browser: web tools  ## The dashboard: its unit tests, and a real Chromium against a real server and worker
	@echo "Browser tests"
	@$(BIN)/python -m pytest -q tests/browser

tools: setup  ## A C compiler and Chromium for the tests, where they are missing
	@$(BIN)/python requirements/test_tools.py

test-gpu: setup  ## The tests that need a real NVIDIA GPU
	@$(BIN)/python -m pytest -v tests/gpu

clean:  ## Remove the environment and everything that was made
	rm -rf .venv demo build dist setup.log clients/web/dist clients/web/node_modules clients/web/src/api/schema.d.ts
