# lorebridge on a fresh machine: `make demo` and `make test` do all.

SHELL := /bin/bash
PYTHON ?= python3.11
CORES ?= 2
BUNDLE ?= results/demo.bundle.tar.xz
DATA ?= data
VENV := .venv
LOCK := envs/cpu.lock
# What packages that come as source are built with.
BUILD_NEEDS := setuptools wheel packaging numpy ninja py-cpuinfo psutil pydantic hjson einops msgpack tqdm cython

# Everything runs from the project's own environment, which comes first on PATH: shell rules call `python`,
# `torchrun` and `lorebridge` by name.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONNOUSERSITE := 1
# Two jobs side by side on two cores: numerical libraries take the threads that a job is given, and no more.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: setup demo mini figures browser peers test test-slurm test-gpu test-install test-judge mutants docs lint hooks format clean help

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.complete ## make .venv from the lock (on a GPU: make setup LOCK=envs/gpu.lock)
	@! grep -qvxF '$(LOCK)' $< || \
	  { echo "error: $(VENV) is of $$(cat $<), not of $(LOCK): say LOCK=$$(cat $<), or remove $(VENV)" >&2; exit 1; }

$(VENV)/.complete: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo 'error: Python 3.11 is needed (the lock is for it): make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@# torch first and alone: deepspeed asks for it while it is built, and its CPU build has another hash on each index.
	$(VENV)/bin/pip install --quiet --disable-pip-version-check 'torch==2.13.0' --constraint <(sed 's/ --hash.*//' $(LOCK))
	@# Each of them: a pattern of them all would be content with any.
	for name in $(BUILD_NEEDS); do grep "^$$name==" $(LOCK) || { echo "error: $$name is not in $(LOCK)" >&2; exit 1; }; done > $(VENV)/build.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $(VENV)/build.lock
	DS_BUILD_OPS=0 $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --no-build-isolation --requirement $(LOCK)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# Nothing above looks at what packages need: whatever the lock lacks is told here.
	$(VENV)/bin/pip check --disable-pip-version-check
	echo $(LOCK) > $@

# Snakemake prints what it does, and how long the whole study still takes; long jobs draw a bar with tokens/s and the time
# left. It wakes up once a timespan for
# every job that has finished: with its default of a second, a hundred jobs cost an eighth of a core.
RUN = snakemake --cores $(CORES) --rerun-incomplete --max-jobs-per-timespan 500/5s

demo: setup ## the planted world, end to end, with figures and a report
	$(RUN) --configfile config/demo.yaml
	snakemake --configfile config/demo.yaml --report results/demo/report.html
	@echo; lorebridge findings --config config/demo.yaml

mini: setup ## real text and the paper's questions, small: make mini DATA=FOLDER
	$(RUN) --configfile config/mini.yaml --config data=$(DATA)
	snakemake --configfile config/mini.yaml --config data=$(DATA) --report results/mini/report.html
	@echo; lorebridge findings --config config/mini.yaml --set data=$(DATA)

figures: setup ## tables and figures from a bundle, nothing trained: make figures [BUNDLE=PATH]
	$(RUN) --snakefile workflow/figures.smk --config bundle=$(BUNDLE)
	@echo; echo 'in redrawn/<study>/: figures/    tables/    report/summary.html'

browser: ## Chromium, in which tests open the report (root on Debian; installs it)
	@command -v chromium >/dev/null || { \
	  command -v apt-get >/dev/null || { echo 'error: no Chromium, and no apt-get: this needs Debian' >&2; exit 1; }; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null && \
	  command -v chromium >/dev/null || { echo 'error: Chromium could not be installed' >&2; exit 1; }; }

test: setup peers ## unit, property, workflow and end-to-end tests
	pytest --numprocesses $(CORES) --dist loadgroup --no-loadscope-reorder

test-slurm: setup ## a real SLURM on this machine, and what goes wrong on one (root on Debian; installs SLURM)
	tests/slurm/cluster.sh install
	tests/slurm/cluster.sh run pytest tests/slurm

test-gpu: setup ## on a fresh GPU node, eight minutes: speed, exact resume, scoring, memory; results/gpu/gpu.md
	tests/gpu.sh

test-install: ## what installs something, in a Debian where nothing of it is (root; needs debootstrap)
	tests/fresh-root.sh

test-judge: .venv-judge/.complete ## the LLM judge with vLLM on the CPU, in an environment of its own
	.venv-judge/bin/python -m pytest tests/judge

.venv-judge/.complete: envs/judge-cpu.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv-judge
	.venv-judge/bin/pip install --quiet --disable-pip-version-check 'torch==2.13.0' --constraint <(sed 's/ --hash.*//' $<)
	.venv-judge/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $<
	.venv-judge/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# The tests are skipped where there is no vLLM: here that is an error.
	.venv-judge/bin/python -c 'import pytest, vllm'
	touch $@

mutants: setup build/cosmic-ray/.complete ## would the tests notice? make mutants MODULES=tokens/packing [MOST=100]
	python tests/mutants.py --cosmic-ray build/cosmic-ray $(if $(MOST),--most $(MOST)) $(MODULES)

peers: setup build/peers/.complete ## what only benchmarks need: the libraries that they compare with

build/peers/.complete: envs/peers.lock
	rm -rf build/peers
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target build/peers --requirement $<
	touch $@

# In a folder of its own, behind the study's packages, of which it takes attrs.
build/cosmic-ray/.complete:
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --target build/cosmic-ray cosmic-ray==8.7.0 parso==0.8.7 stevedore==5.10.0
	touch $@

docs: .venv-docs/.complete ## the documentation as a site, build/site/, in an environment of its own
	.venv-docs/bin/mkdocs build --quiet --strict
	@echo 'site: build/site/index.html'

.venv-docs/.complete: envs/docs.lock
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $<
	touch $@

lint: setup ## ruff, snakefmt, snakemake --lint, mypy, codespell, shellcheck
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow src/lorebridge/studies tests/kinds
	snakemake --lint --configfile config/demo.yaml
	mypy
	codespell
	shellcheck .ci/run envs/*.sh tests/*.sh tests/slurm/*.sh

hooks: setup ## have git run the checks of `make lint` before every commit
	pre-commit install

format: setup ## put every file in form
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow src/lorebridge/studies tests/kinds

clean: ## remove what the demo made (never .venv)
	rm -rf results/demo work/demo redrawn/demo
