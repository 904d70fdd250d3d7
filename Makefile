# make help says what there is. Python: any from 3.11 on; make PYTHON=/path/to/python3.12 chooses one.
SHELL := /bin/sh
.DELETE_ON_ERROR:

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint soak bench man deb pictures clean

help:
	@echo 'make demo    a backup, a change, a backup, a restore, in a temporary folder'
	@echo 'make test    all tests (installs the programs they need where it may)'
	@echo 'make lint    ruff and mypy'
	@echo 'make soak    made-up histories for S3NAP_SOAK_MINUTES (60), death at every step, 100,000 confs, many files'
	@echo 'make bench   compare with other programs, and see how costs grow: writes BENCHMARKS.md (hours)'
	@echo 'make pictures  draw the pictures of the README again (minutes)'
	@echo 'make man     the man pages, into build/man'
	@echo 'make deb     a package for this Debian or Ubuntu, into dist'
	@echo 'make clean   remove what these made'

demo: $(VENV)/.s3nap
	@scripts/system-packages.sh demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo.sh

test: $(VENV)/.tools
	@scripts/system-packages.sh test
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: export S3NAP_SOAK_MINUTES ?= 60
soak: $(VENV)/.tools
	$(BIN)/python -m pytest -n 2 -rP tests/test_state_machine.py
	$(BIN)/python -m pytest -n 2 tests/test_failpoints.py tests/test_damage.py tests/test_planted_manifests.py
	S3NAP_FUZZ_CASES=50000 $(BIN)/python -m pytest -n 2 tests/test_conffile.py tests/test_config.py
	S3NAP_SOAK_FILES=3000 $(BIN)/python -m pytest -n 2 tests/test_thirty_days.py

bench: $(VENV)/.tools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python benchmarks/compare.py --write $(COMPARE)
	$(BIN)/python benchmarks/scale.py --write $(SCALE)

pictures: $(VENV)/.tools
	$(BIN)/python scripts/pictures.py

man: $(VENV)/.s3nap
	$(BIN)/python scripts/man.py build/man

deb: $(VENV)/.s3nap
	@PYTHON='$(CURDIR)/$(BIN)/python' scripts/deb.sh dist

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find s3nap tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: what is installed is installed again only when pyproject.toml has changed.
$(VENV)/.s3nap: pyproject.toml scripts/venv.sh
	@PYTHON='$(PYTHON)' scripts/venv.sh $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.tools: $(VENV)/.s3nap
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@
