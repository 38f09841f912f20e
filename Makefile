# `make` lists the targets. Each one first sees to the environment in .venv, which takes no time when it is up to date.
# CXR_ENV=… chooses the environment, PYTHON=… the interpreter (docs/environments.md).
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export TF_CPP_MIN_LOG_LEVEL ?= 3
export GRPC_VERBOSITY ?= ERROR
export PYTHONWARNINGS ?= ignore::DeprecationWarning,ignore::FutureWarning

BIN := .venv/bin
DEMO := runs/demo
DEMO_IMAGES ?= 600
PYTEST_ARGS ?=
SOURCES := $(wildcard pipeline components trainer schemas storage records pages cli scripts benchmarks experiments tests setup.py cxr_triage.py)

.PHONY: help environment demo test slow lint types manifests docs benchmarks lock sbom image clean ci ci-full

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: ## the locked environment in .venv
	@scripts/bootstrap

demo: environment ## synthetic chest X-rays, then the whole pipeline: a gated, pushed model under runs/demo
	@# The table is written last: without it, an earlier drawing was broken off.
	@[ -e $(DEMO)/data/preprocessed_data.csv ] || $(BIN)/cxr-triage synth --out $(DEMO)/data --count $(DEMO_IMAGES) --seed 7 --overwrite
	@$(BIN)/cxr-triage run --config pipeline/configs/demo.yaml --data-root $(DEMO)/data --root $(DEMO)

test: environment ## the tests, without the slow ones
	@$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile $(PYTEST_ARGS)

slow: environment ## the slow tests, those with real X-rays and the end-to-end runs
	@$(BIN)/python -m pytest -m slow --durations=15 $(PYTEST_ARGS)

lint: environment ## format and lint, changing nothing
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/hadolint kubeflow/Dockerfile

types: environment ## type check
	@$(BIN)/mypy

manifests: environment ## the Kubernetes files under kubeflow/manifests/, against the schemas and what schemas miss; FOLDERS=... for your own
	@$(BIN)/python -m scripts.manifests $(FOLDERS)

docs: environment ## docs/configuration.md from the code, the tables of quality from docs/quality
	@$(BIN)/python -m pipeline.config_reference > docs/configuration.md
	@$(BIN)/python -m experiments.quality_table

benchmarks: environment ## all benchmarks and the table of goals, about an hour; COUNTS='1000 112120' for other numbers of images
	@$(BIN)/python -m benchmarks $(COUNTS)

lock: ## uv.lock from pyproject.toml; UPGRADE=1 takes newer versions. From the public index, so that no other address gets into it
	@scripts/with-uv env -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS uv lock $(if $(UPGRADE),--upgrade)

sbom: environment ## the bill of materials (CycloneDX) of the environment in .venv, under dist/sbom
	@scripts/with-uv $(BIN)/python -m scripts.sbom

image: environment ## the container image cxr-triage:cpu; IMAGE=gpu for the one with CUDA, IMAGE=beam for Beam's workers
	@$(BIN)/python -m scripts.images $(or $(IMAGE),cpu)

clean: ## removes runs, caches and the environment
	rm -rf runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .tools .venv
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

ci: ## what every change has to pass
	@.ci/run

ci-full: ## the same, the benchmark commands, and all of it once more on the second environment: before a release
	@.ci/run full
