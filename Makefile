# The two commands: `make lab` and `make test`. Everything else is a part of them.
# The lab's hosts are containers, which only root and the group docker may make: others go through sudo.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_FORCE_COLOR ?= $(if $(MAKE_TERMOUT),true,false)
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,CI,THOROUGH,WHARF_DEBIAN_MIRROR,ANSIBLE_FORCE_COLOR)
# So many at a time of the linters, the unit tests and the scenarios. Three on two cores: much of a scenario is waiting.
LANES ?= 3
# The main job: bare hosts, TLS, users, several clients, a sudo password, and what must fail.
MAIN := default ssh provided
# The longest first, and those of five minutes and less at the end, so that no lane is left alone for long.
LONG := upgrade default caches replicas history systems standby garbage docker_ce backup tools diagnose copies certificates ssh hardened faults
# What others show as well, in part: only where every test runs.
RARE := $(if $(THOROUGH),,archive docker_ce)
ALL := $(LONG) $(filter-out $(LONG) $(RARE),$(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
REST := $(filter-out $(MAIN),$(ALL))
IN_LANES = --no-print-directory --jobs=$(LANES)

.PHONY: help lab lab-down test test-rest test-all test-thorough lint unit bench docs clean

help: ## Show this
	@grep -E '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

lab: ## Create hosts, run site.yml on them, and play the whole story
	@bash lab/setup.sh requirements.txt
	@$(AS_ROOT) bash lab/lab.sh

lab-down: ## Remove the lab: hosts, network, volumes, images
	@$(AS_ROOT) bash lab/lab.sh down

test: ## Set everything up; run the linters, the unit tests and the main scenarios
	@bash lab/setup.sh requirements-dev.txt
	@$(MAKE) $(IN_LANES) $(addprefix molecule-,$(MAIN)) logged-lint logged-unit

test-rest: ## Run the scenarios that `make test` does not
	@bash lab/setup.sh requirements-dev.txt
	@$(MAKE) $(IN_LANES) $(addprefix molecule-,$(REST))

test-all: ## Run the linters, the unit tests and all scenarios
	@bash lab/setup.sh requirements-dev.txt
	@$(MAKE) $(IN_LANES) logged-lint logged-unit $(addprefix molecule-,$(ALL))

test-thorough: ## Run every test, also those that are long and repeat others or are about something rare: before a release
	@THOROUGH=1 $(MAKE) --no-print-directory test-all

lint: ## Run the linters
	yamllint --strict .
	ruff check .
	ruff format --check .
	ansible-lint

unit: ## Run the unit tests
	pytest tests/unit

# What runs beside others tells how it has ended, and what it said only where it failed.
logged-%:
	@mkdir -p .cache
	@start=$$SECONDS; if $(MAKE) --no-print-directory $* >.cache/$*.log 2>&1; \
	then printf '%-21s passed in %d s: %s\n' $* $$((SECONDS - start)) "$$(tail -n 1 .cache/$*.log)"; \
	else cat .cache/$*.log; printf '%-21s FAILED; above is .cache/%s.log\n' $* $*; exit 1; fi

molecule-%: ## Run one scenario, molecule-NAME; its log is .cache/molecule/NAME.log
	@$(AS_ROOT) bash lab/scenario.sh $*

bench: ## Measure the speed, as ratios
	@bash lab/setup.sh requirements-dev.txt
	@$(AS_ROOT) bash benchmarks/run.sh

docs: ## Write the generated tables of variables
	python tests/variables.py

clean: lab-down ## Remove the lab and all that was made in this folder
	@$(AS_ROOT) rm -rf .venv .cache
