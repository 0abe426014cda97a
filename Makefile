# Needs Python 3.11 or newer and make; everything else goes into .venv, once.
#
#   make demo    degrade, restore and compare a brain; images and a picture go to ./demo
#   make test    run the tests
#   make test-all  and the slow ones: every network at full size
#   make test-slurm  a cohort on a real SLURM of one node, which it starts and ends
#   make docs    make docs/networks.md from the table of architectures, and the learning curves
#   make lint    style, types and import layers
#   make bench   run the benchmarks, for hours; make bench BENCH_FLAGS=--quick, for minutes
#   make bench-compare  whether this tree is slower than the commit BASE (HEAD~1)
#   make bench-report   put what make bench measured into docs/performance.md
#   make clean   remove .venv and whatever these targets left, but no results
#
# Variables: PYTHON (interpreter that makes .venv), PIP_FLAGS (such as an --extra-index-url with
# CPU wheels of torch), TEST_JOBS (test processes), PYTEST_FLAGS (such as "-k grid"), BENCHMARKS
# (names of scripts), BENCH_FLAGS.

# A name on PATH may be a launcher of a version that is not there, so each is tried. When none is
# new enough the last one tried says so below.
ifeq ($(origin PYTHON),undefined)
PYTHON := $(or $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; \
  done),python3)
endif
PIP_FLAGS ?=
TEST_JOBS ?= 2
PYTEST_FLAGS ?=

BIN := .venv/bin
# In benchmarks/; the other files there are what these share.
BENCHMARKS ?= startup network_pass roofline against_monai whole_command memory growth cohort \
  read_write degradation others loader order
BENCH_FLAGS ?=
BASE ?= HEAD~1

# What each set-up installs, and the smaller ones that it holds.
extras-run :=
extras-test := [test]
extras-dev := [dev]
holds-run := run
holds-test := run test
holds-dev := run test dev

.DELETE_ON_ERROR:
.PHONY: demo test test-all test-slurm docs lint bench bench-compare bench-report clean

demo: .venv/.installed-run
	@$(BIN)/finevox demo --output demo --overwrite

# One thread per process: torch would start as many as there are cores in each of them. A file's
# tests stay in one process, so that what they share is made once.
test: .venv/.installed-test
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	  $(BIN)/pytest -q -n $(TEST_JOBS) --dist loadfile $(PYTEST_FLAGS)

test-all: override PYTEST_FLAGS += -m "not slurm"
test-all: test

# In /tmp, for munge has a user of its own, who has to reach it.
test-slurm: .venv/.installed-test
	@folder=$$(mktemp -du /tmp/finevox-slurm.XXXXXX); \
	  trap "tests/cluster/slurm.sh stop $$folder" EXIT; trap 'exit 130' INT TERM; \
	  exports=$$(tests/cluster/slurm.sh start $$folder) && eval "$$exports" && \
	  OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	    $(BIN)/pytest -q -m slurm tests/cluster $(PYTEST_FLAGS)

docs: .venv/.installed-run
	@$(BIN)/python docs/make_networks.py
	@$(BIN)/python docs/make_curves.py

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/lint-imports --no-logo

bench: .venv/.installed-test
	@set -e; for name in $(BENCHMARKS); do \
	  echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(BENCH_FLAGS); done

bench-compare: .venv/.installed-run
	@$(BIN)/python benchmarks/compare.py --base $(BASE) $(BENCH_FLAGS)

bench-report: .venv/.installed-run
	@$(BIN)/python benchmarks/report.py

clean:
	rm -rf .venv build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: nothing is installed again until the requirements change.
.venv/.installed-%: .venv/.made pyproject.toml constraints.txt
	@echo "Installing finevox$(extras-$*) into .venv; the first time takes minutes"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) \
	  -c constraints.txt -e '.$(extras-$*)'
	@touch $(holds-$*:%=.venv/.installed-%)

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "finevox needs Python 3.11 or newer, and '$(PYTHON)' is not that; name one:" \
	    "make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@
