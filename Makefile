# Every target installs what it needs. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
# A test run uses two processes: training tests take seconds of CPU each.
WORKERS ?= 2
export PYTHONWARNINGS ?= ignore::FutureWarning

UNIT := tests $(addprefix --ignore=tests/,e2e faults slurm browser gpu)

.DEFAULT_GOAL := help
.PHONY: launchers help setup demo slurm-demo test check format unit e2e browser tools web test-gpu release soak image clean

help:  ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## Install everything into .venv (every other target does this too)
	@$(PYTHON) requirements/install.py

demo: setup  ## Show two 4-GPU DeepSpeed runs on one 8-GPU box (simulated if there is none)
	@$(BIN)/python -m berth.demo $(DEMO)

slurm-demo: setup  ## Show the two runs on two nodes of a small Slurm cluster, started for it
	@$(BIN)/python requirements/test_tools.py slurm
	@$(BIN)/python -m berth.demo --slurm $(DEMO)

test: check tools unit web e2e browser  ## Run everything that CI runs: checks, unit, end-to-end and browser tests
	@echo "All passed."

check: setup  ## Check style, formatting, types and import directions
	@echo "Checking style, types and import directions"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --level error
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python clients/web/build.py --check

format: setup  ## Format the code and apply safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/python clients/web/build.py --format

# Runs tests ($1) with options ($2). Those that failed run once more, alone, and are named: one
# lost race should not cost a whole run. Each of them is a fault to look for all the same.
tested = @$(BIN)/python -m pytest -q $2 $1 || { echo "The failed tests again, alone:"; \
	$(BIN)/python -m pytest -v --last-failed --last-failed-no-failures none $1; }

unit: tools  ## Run unit, property and component tests
	@echo "Unit, property and component tests"
	$(call tested,$(UNIT),-n $(WORKERS) --dist loadgroup)

e2e: tools  ## Run end-to-end and fault tests against real processes and a real Slurm cluster
	@echo "End-to-end and fault tests: real server, worker, launchers and kill -9, a Slurm cluster"
	$(call tested,tests/e2e tests/faults tests/slurm)

web: setup  ## Build the dashboard (quick if nothing changed)
	@echo "Building the dashboard"
	@$(BIN)/python clients/web/build.py

browser: web tools  ## Test the dashboard: its unit tests, and Chromium against a real server and worker
	@echo "Browser tests"
	$(call tested,tests/browser)

tools: setup  ## Install a C compiler, Chromium and Slurm for the tests if they are missing
	@$(BIN)/python requirements/test_tools.py

launchers: setup  ## Check the launchers' recorded facts against their releases (nightly; NEWEST=--newest)
	@$(BIN)/python -m tests.launchers.releases $(NEWEST)
	@$(BIN)/python -m tests.launchers.drive

test-gpu: setup  ## Run the tests that need a real NVIDIA GPU
	@$(BIN)/python -m pytest -v tests/gpu

release: setup web  ## Build and try a release in new environments; signs off dist/CHECKLIST.md (RELEASE=--no-trainer)
	@$(BIN)/python requirements/release.py $(RELEASE)

soak:  ## Kill every process at random and at named points for MINUTES=120, with a ledger
	@$(BIN)/python benchmarks/soak --minutes $(or $(MINUTES),120)

image: web  ## Build the container image without Docker, and start its server (root, Debian)
	@deploy/image.sh

clean:  ## Remove the environment and all build results
	rm -rf .venv demo build dist setup.log clients/web/dist clients/web/node_modules clients/web/src/api/schema.d.ts
