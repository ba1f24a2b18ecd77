# The two commands: `make lab` and `make test`. Everything else is a part of them.
# The lab's hosts are containers, which only root and the group docker may make: others go through sudo.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_FORCE_COLOR ?= $(if $(MAKE_TERMOUT),true,false)
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,CI,WHARF_DEBIAN_MIRROR,ANSIBLE_FORCE_COLOR)
# So many scenarios at a time. Two on two cores need about three quarters of the time: much of a scenario is waiting.
LANES ?= 2
SCENARIOS := $(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml))

.PHONY: help lab lab-down test lint unit molecule bench docs clean

help: ## Show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

lab: ## Create hosts, run site.yml on them, and play the whole story
	@lab/setup.sh requirements.txt
	@$(AS_ROOT) lab/lab.sh

lab-down: ## Remove the lab: hosts, network, volumes, images
	@$(AS_ROOT) lab/lab.sh down

test: ## Set everything up and run every test
	@lab/setup.sh requirements-dev.txt
	@$(MAKE) --no-print-directory lint unit molecule

lint: ## Run the linters
	yamllint --strict .
	ruff check .
	ruff format --check .
	ansible-lint

unit: ## Run the unit tests
	pytest tests/unit

molecule: ## Run every scenario, LANES=N of them at a time (default 2); molecule-NAME runs one
	@echo "What a scenario says comes when it has ended; until then it is in .cache/molecule/NAME.log"
	@$(MAKE) --no-print-directory --jobs=$(LANES) --output-sync=target $(addprefix molecule-,$(SCENARIOS))

molecule-%:
	@$(AS_ROOT) lab/scenario.sh $*

bench: ## Measure the speed, as ratios
	@lab/setup.sh requirements-dev.txt
	@$(AS_ROOT) benchmarks/run.sh

docs: ## Write the generated tables of variables
	python tests/variables.py

clean: lab-down ## Remove the lab and all that was made in this folder
	@$(AS_ROOT) rm -rf .venv .cache
