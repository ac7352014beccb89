# `make demo` and `make test` do all of their own set-up: a machine needs Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
EXPERIMENTS ?= 25000
CASES ?= 10000
SERIES_DIR ?= uncertainty-output
TESTS ?=

.PHONY: help setup hooks docs docs-serve configs demo demo-given test test-slow test-pages vendor test-clients coverage faults fuzz bench-batch bench bench-align bench-verdicts bench-detection bench-search bench-service bench-pages bench-groups bench-atlas bench-uncertainty lint types lock clean
.DEFAULT_GOAL := help

help:  ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ish-pipeline needs Python 3.11 or newer, got $$($(PYTHON) --version); set PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo "compiling, once"; $(BIN)/python workflows/compile_kernels.py || echo "not compiled: the first run does it"
	@touch $@

setup: $(READY)  ## create .venv with the pinned versions

hooks: $(READY)  ## have git run ruff, mypy, codespell and numpydoc validation before each commit
	$(BIN)/python -m pre_commit install

demo: $(READY)  ## a phantom series of 20 sections through the whole pipeline, aligned from nothing
	$(BIN)/ish demo demo-output

demo-given: $(READY)  ## the same along its known alignment
	$(BIN)/ish demo demo-output --alignment given

test: $(READY) lint types  ## every test of the daily suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

vendor:  ## fetch the libraries of the pages anew (needs npm)
	$(PYTHON) workflows/vendor_pages.py

test-slow: $(READY)  ## the slow families
	$(BIN)/python -m pytest -m slow

test-clients: $(READY)  ## real clients against the service (installs them into .clients)
	$(BIN)/python workflows/clients/check.py

test-pages: $(READY)  ## the pages of the service in Chromium, where it is installed; pictures go to page-pictures
	$(BIN)/python -m pytest -m pages tests/service/pages

docs: $(READY)  ## the documentation into site/, offline: every example run, every link checked
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html -d site/.doctrees docs site
	rm -rf site/.doctrees site/.buildinfo
	$(BIN)/python workflows/check_site.py site

docs-serve: docs  ## the same, served to this machine at http://127.0.0.1:8001
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory site 8001

configs: $(READY)  ## write configs/*.yaml and their schema anew from the models
	$(BIN)/python workflows/write_configs.py

coverage: $(READY)  ## share of lines and branches that the daily suite runs (TESTS=folders for a part of it)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term $(TESTS)

bench: $(READY)  ## ratios against what most people write, and against merely reading the files
	$(BIN)/python workflows/benchmarks/benchmark.py

faults: $(READY)  ## runs that are killed, starved and lied to, again and again
	$(BIN)/python -m pytest -m faults tests/runs/test_faults.py tests/runs/test_torn_runs.py

fuzz: $(READY)  ## 10,000 damaged inputs of every form, an hour or more (CASES=n)
	$(BIN)/python workflows/fuzz.py --count $(CASES) --keep fuzz-output

bench-batch: $(READY)  ## 40 small series: two workers against one, overhead, memory
	$(BIN)/python workflows/benchmarks/bench_batch.py bench-output

bench-align: $(READY)  ## alignment from nothing on rendered series of the real reference (needs ISH_DATA)
	$(BIN)/python workflows/benchmarks/benchmark_alignment.py --families coronal sagittal --seeds 1 2 3 4 5

bench-verdicts: $(READY)  ## verdicts on damaged series and few sections, an hour (needs ISH_DATA)
	$(BIN)/python workflows/benchmarks/benchmark_verdicts.py

bench-detection: $(READY)  ## the detector on newly rendered sections, light, stain and pixel size (needs ISH_DATA)
	$(BIN)/python workflows/benchmarks/benchmark_detection.py

bench-uncertainty: $(READY)  ## intervals on held-out rendered series: coverage and score (needs ISH_DATA; renders for hours)
	$(BIN)/python workflows/calibrate_uncertainty.py render $(SERIES_DIR)
	$(BIN)/python workflows/calibrate_uncertainty.py judge $(SERIES_DIR)

bench-search: $(READY)  ## search at the size of the atlas: 25,000 experiments, 9 GB, some minutes (EXPERIMENTS=n)
	$(BIN)/python workflows/benchmarks/bench/searching.py --experiments $(EXPERIMENTS)

bench-groups: $(READY)  ## false discoveries and power of compare-groups on simulated animals, some minutes
	$(BIN)/python workflows/benchmarks/benchmark_groups.py

bench-service: $(READY)  ## the service at HTTP against its goals, on one serving core, 15 minutes (ISH_DATA for all of it)
	$(BIN)/python workflows/benchmarks/bench_service.py

bench-atlas: $(READY)  ## plates and sections to volumes, annotations carried, brains averaged (needs ISH_DATA)
	$(BIN)/python workflows/benchmarks/benchmark_plates.py --reference $(ISH_DATA)/reference
	$(BIN)/python workflows/benchmarks/benchmark_build.py --reference $(ISH_DATA)/reference
	$(BIN)/python workflows/benchmarks/benchmark_carry.py $(ISH_DATA)/reference nissl:21 nissl:22 nissl:23 layers:24 layers:27 \
	  same:25 same:26 average:31,32,33,34,35

bench-pages: $(READY)  ## first views, frames while panning and sizes of the pages against their goals, 5 minutes
	$(BIN)/python workflows/benchmarks/bench_pages.py

lint: $(READY)  ## ruff, codespell, numpydoc validation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell .ci configs docs pipeline tests workflows Makefile pyproject.toml *.md
	$(BIN)/numpydoc lint $$(find pipeline -name '*.py')

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

lock:  ## resolve the pinned versions anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --only-binary :all: \
	  --no-emit-index-url --no-annotate --no-header --upgrade --group dev pyproject.toml -o requirements.lock

clean:  ## remove what make made
	rm -rf $(VENV) .clients demo-output site docs/gallery .mypy_cache .ruff_cache .pytest_cache .coverage .coverage.*
