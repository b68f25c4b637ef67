# Every target sets up what it needs: a virtual environment, its packages and the Rust extension.
# Stamps in .venv remember what is done, so a second run does only what has changed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

# rustup puts cargo here, where a shell that was open before the installation does not look.
export PATH := $(PATH):$(HOME)/.cargo/bin

# The first interpreter that is new enough; make PYTHON=/path/to/python overrides.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && exit; \
    done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
WORKERS ?=
# check TESTS=none leaves the tests out, for a caller that runs all of them right after.
TESTS ?= fast
BENCH_ARGS ?=
PIP := -m pip install --quiet --disable-pip-version-check

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

.PHONY: help demo test check lint test-fast test-rust test-isas memcheck bench bench-peers bench-collective bench-scaling bench-overlap bench-ray bench-recovery chaos wheel clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | awk -F'\t' '{printf "  %-18s%s\n", $$1, $$2}'

$(VENV)/.created: .ci/prerequisites
	.ci/prerequisites $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --upgrade pip 'maturin>=1.9,<2'
	touch $@

$(VENV)/.built: $(VENV)/.created pyproject.toml $(RUST_SOURCES)
	.ci/prerequisites $(BIN)/python
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --extras test
	touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml
	$(BIN)/python $(PIP) $$($(BIN)/python .ci/extra.py dev)
	touch $@

# Tests run the version that is deployed.
$(VENV)/.ray: $(VENV)/.created pyproject.toml deploy/versions.env
	$(BIN)/python $(PIP) $$($(BIN)/python .ci/extra.py ray train) \
	    "ray==$$(sed -n 's/^RAY_VERSION=//p' deploy/versions.env)"
	touch $@

# Where Python is one of the image's, its very packages; and what the tests of deploy/ need besides.
$(VENV)/.deploy: $(VENV)/.ray pyproject.toml deploy/requirements.txt
	$(BIN)/python $(PIP) $$($(BIN)/python .ci/extra.py cluster test-deploy) \
	    $$($(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	        && echo --constraint deploy/requirements.txt)
	touch $@

$(PEERS)/.created: .ci/prerequisites
	.ci/prerequisites $(PYTHON)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python $(PIP) --upgrade pip
	$(PEERS)/bin/python $(PIP) tensorflow-cpu tf_keras keras 'jax[cpu]' h5py
	@# PyPI's wheel is the one for CUDA, which cannot be imported without the 4 GB that it needs.
	$(PEERS)/bin/python $(PIP) torch --index-url https://download.pytorch.org/whl/cpu \
	    || $(PEERS)/bin/python $(PIP) --no-cache-dir torch \
	    || echo 'torch cannot be had here: the benches leave it out'
	touch $@

demo: $(VENV)/.built $(if $(WORKERS),$(VENV)/.ray) ## Train a small CNN on handwritten digits (WORKERS=2: on two, with the same bits)
	$(if $(WORKERS),HORNBEAM_WORKERS=$(WORKERS)) $(BIN)/python examples/digits.py

test: test-rust test-isas $(VENV)/.deploy ## Every test, Rust and Python, fast and slow
	$(BIN)/python -m pytest

test-fast: test-rust
	$(BIN)/python -m pytest -m 'not slow'

test-rust: $(VENV)/.built
	PYO3_PYTHON=$(abspath $(BIN)/python) cargo test --workspace --locked --quiet

# Kernels and plans once more on the instruction sets that this machine would not choose. All crates,
# lest a smaller choice of them has other features and is built anew.
test-isas: $(VENV)/.built
	for isa in avx2 portable; do \
	    HORNBEAM_ISA=$$isa PYO3_PYTHON=$(abspath $(BIN)/python) cargo test --workspace --locked --quiet \
	        --lib --test sweep --test scan --test memory; \
	done

memcheck: $(VENV)/.built ## Run every operation's samples and random plans under valgrind, which is needed
	HORNBEAM_ISA=avx2 CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='valgrind -q --error-exitcode=9' \
	    PYO3_PYTHON=$(abspath $(BIN)/python) cargo test --workspace --locked \
	        --test sweep --test scan --test memory -- --test-threads=1

lint: $(VENV)/.built $(VENV)/.dev ## Formatting, lints and types, without the tests
	cargo fmt --all --check
	PYO3_PYTHON=$(abspath $(BIN)/python) cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy.stubtest hornbeam._core --allowlist .ci/stubtest-allowed

check: lint $(if $(filter fast,$(TESTS)),test-fast) ## What CI runs: lint and the fast tests

bench: $(VENV)/.built ## Time the workloads, a step's overhead and the import under hornbeam alone
	$(BIN)/python tests/bench/footprint.py
	$(BIN)/python tests/bench/overhead.py
	$(BIN)/python tests/bench/run.py $(BENCH_ARGS)

bench-peers: $(VENV)/.built $(PEERS)/.created ## Time the workloads under hornbeam and its peers, in turns
	$(BIN)/python tests/bench/run.py --peers all --peers-python $(PEERS)/bin/python $(BENCH_ARGS)

bench-collective: ## Time the all-reduce between two processes, beside gloo if .venv-peers has torch
	$(PYTHON) tests/bench/collective.py $(if $(wildcard $(PEERS)/bin/python),--peer $(PEERS)/bin/python)

bench-ray: $(VENV)/.built $(VENV)/.ray ## Time from fit to its first step on Ray workers, cold and warm
	$(BIN)/python tests/bench/first_step.py

bench-scaling: $(VENV)/.built ## Time workers of one thread against one process of as many threads
	$(BIN)/python tests/bench/scaling.py $(BENCH_ARGS)

bench-overlap: $(VENV)/.built ## Time gradients summed early, late and at once, here and between namespaces (as root)
	$(BIN)/python tests/bench/overlap.py $(BENCH_ARGS)

bench-recovery: $(VENV)/.built $(VENV)/.ray ## Time how long training stands still when a worker is lost
	$(BIN)/python tests/bench/recovery.py

chaos: $(VENV)/.built $(VENV)/.ray ## Train while many things go wrong (CHAOS="--events 40 --seed 7")
	$(BIN)/python tests/distributed/chaos.py $(CHAOS)

wheel: $(VENV)/.created ## Build a release wheel into dist/
	$(BIN)/maturin build --release --out dist

clean: ## Remove everything that was built or installed here
	rm -rf $(VENV) $(PEERS) target dist out .pytest_cache .mypy_cache .ruff_cache
	find python -name '*.so' -delete
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
