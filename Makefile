# `make` lists the targets. Most of them first update the environment in .venv, which takes no time
# if nothing has changed. CXR_ENV=… chooses the environment, PYTHON=… the interpreter
# (docs/environments.md).
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
SOURCES := $(wildcard pipeline components trainer schemas storage records pages serving monitoring cli scripts \
	benchmarks experiments tests setup.py cxr_triage.py)
# Without the addresses of other package indexes, so that they do not get into uv.lock.
PUBLIC_INDEX := env -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_INDEX -u UV_EXTRA_INDEX_URL \
	-u UV_FIND_LINKS

.PHONY: help environment demo test slow lint types manifests docs benchmarks lock sbom image clean
.PHONY: ci ci-full

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: ## install the locked environment in .venv
	@scripts/bootstrap

demo: environment ## run the whole pipeline on synthetic chest X-rays, in runs/demo
	@# `synth` writes the table last, so without it the data are incomplete.
	@[ -e $(DEMO)/data/preprocessed_data.csv ] || $(BIN)/cxr-triage synth \
	  --out $(DEMO)/data --count $(DEMO_IMAGES) --seed 7 --overwrite
	@$(BIN)/cxr-triage run --config pipeline/configs/demo.yaml \
	  --data-root $(DEMO)/data --root $(DEMO)

test: environment ## run the tests that are not slow
	@$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile $(PYTEST_ARGS)

slow: environment ## run the slow tests, including those on real X-rays and end-to-end runs
	@$(BIN)/python -m pytest -m slow --durations=15 $(PYTEST_ARGS)

lint: environment ## check format and lint rules, without changes
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/hadolint kubeflow/Dockerfile

types: environment ## check the types
	@$(BIN)/mypy

manifests: environment ## check the Kubernetes files of kubeflow/manifests/, or of FOLDERS=...
	@$(BIN)/python -m scripts.manifests $(FOLDERS)

docs: environment ## write docs/configuration.md and the quality tables of the docs
	@$(BIN)/python -m pipeline.config_reference > docs/configuration.md
	@$(BIN)/python -m experiments.quality_table

benchmarks: environment ## run all benchmarks, about an hour; COUNTS='1000 112120' for image counts
	@$(BIN)/python -m benchmarks $(COUNTS)

lock: ## write uv.lock from pyproject.toml and the public index; UPGRADE=1 for newer versions
	@scripts/with-uv $(PUBLIC_INDEX) uv lock $(if $(UPGRADE),--upgrade)

sbom: environment ## write the bill of materials (CycloneDX) of .venv to dist/sbom
	@scripts/with-uv $(BIN)/python -m scripts.sbom

image: environment ## build the image cxr-triage:cpu; others: IMAGE=gpu, IMAGE=beam, IMAGE=gateway
	@$(BIN)/python -m scripts.images $(or $(IMAGE),cpu)

clean: ## remove runs, caches and the environment
	rm -rf runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .tools .venv
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

ci: ## run all checks that a change has to pass
	@.ci/run

ci-full: ## run the checks before a release: also benchmarks and the second environment
	@.ci/run full
