# Everything a contributor runs; `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first interpreter here that is new enough and can make environments (some lack ensurepip).
PYTHON ?= $(shell for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null </dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
UV_VERSION := 0.13.9
# Test processes at a time: the suite is sized for two cores, and TensorFlow takes some 600 MB in each.
JOBS ?= 2
SHELL_SCRIPTS := .ci/run systemd/install.sh

.PHONY: help setup demo demo-camera test lint types checks unit device e2e wheel bench lock clean
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.project ## make .venv with everything that training and the tests need

.venv/.requirements: requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or later with venv found: install python3 and python3-venv, or set PYTHON=" >&2; exit 1; }
	@echo "installing what training and the tests need into .venv: some 2.5 GB, some minutes, once" >&2
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	touch $@

.venv/.project: .venv/.requirements pyproject.toml
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: setup ## train, bundle, watch a serial port, raise an alert; DATA=FILE.csv for a recording of yours
	$(BIN)/python -m training.experiments.demo $(if $(DATA),--data "$(DATA)") $(ARGS)

demo-camera: setup ## the same with a camera: record parts, train, bundle, watch, alert with pictures; DATA=FOLDER of yours
	$(BIN)/python -m training.experiments.demo_camera $(if $(DATA),--data "$(DATA)") $(ARGS)

# device before unit: it makes the environment of tflite-runtime that the exam of the converters measures in.
test: lint types checks device unit ## every check that a change must pass

lint: setup ## style of Python and shell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if command -v shellcheck >/dev/null; then shellcheck $(SHELL_SCRIPTS); \
	else echo "shellcheck is not installed (CI has it): the shell scripts were not checked"; fi

types: setup ## static types and import boundaries
	$(BIN)/mypy
	$(BIN)/lint-imports

checks: setup ## the systemd unit: valid, and exposed no more than 2.0 of 10
	$(BIN)/python -m pytest tests/systemd

unit: setup ## unit tests, exams and integration tests, with coverage
	$(BIN)/python -m pytest tests/unit tests/exam tests/integration -m "not slow" -n $(JOBS) --cov --cov-report=term:skip-covered

device: setup ## fresh device environments: size, imports, golden bundle on both runtimes
	$(BIN)/python -m pytest tests/device --timeout 900 -s

e2e: setup ## aarch64, a booted systemd and a virtual machine with a camera; root on Debian, some minutes
	@test "$$(id -u)" = 0 || { echo "make e2e needs root: it builds and boots root folders" >&2; exit 1; }
	@for command in mmdebstrap systemd-nspawn qemu-system-x86_64 busybox cpio; do command -v $$command >/dev/null || \
		{ echo "make e2e needs: apt-get install mmdebstrap systemd-container qemu-system-x86 busybox-static cpio kmod" >&2; exit 1; }; done
	$(BIN)/python -m pytest tests/system --timeout 1800 -s
	$(BIN)/python -m pytest tests -m slow

wheel: setup ## build the device's wheel in dist/, for systemd/install.sh
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

bench: setup ## measure time and memory on this machine; table, and out/bench/figures.json
	$(BIN)/python -m benchmarks --json out/bench/figures.json

lock: ## compile requirements/*.in to hashed files; UPGRADE=--upgrade for newer versions
	test -x .venv-lock/bin/uv || $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv==$(UV_VERSION)
	cd requirements && for set in dev device-litert device-litert-camera device-tflite device-tflite-camera; do \
		../.venv-lock/bin/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --custom-compile-command "make lock" $$set.in --output-file $$set.txt; done

clean: ## remove what these targets made, environments included
	rm -rf .venv .venv-* build dist out .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
