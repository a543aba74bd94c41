# Every target makes what it needs: the environment is .venv in this folder.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help setup run test test-slow lint format bench docs clean

help:
	@echo "make run        the quickstart: from nothing to runs/quickstart/report/report.html and runs/quickstart/bundle/"
	@echo "make test       the tests (minutes)"
	@echo "make test-slow  the tests that train for minutes"
	@echo "make lint       formatting, style and types"
	@echo "make bench      speed and agreement measurements (many minutes)"
	@echo "make docs       the documentation as web pages, in site/"
	@echo "make setup      only the environment"
	@echo "make clean      remove the environment and caches"

setup: $(READY)

# torch is installed by its exact version first, which gives the build without CUDA where there is one
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' || \
	  { echo "Understudy needs Python 3.11, 3.12 or 3.13; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --only-binary geant4-pybind --editable ".[geant4]" || \
	  echo "geant4-pybind has no wheel for this system: the Geant4 reference and its tests are left out"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --only-binary pythia8mc --editable ".[pythia]" || \
	  echo "pythia8mc has no wheel for this system: whole events come from the stored sample, and tests of Pythia are left out"
	@touch $(READY)

run: $(READY)
	$(BIN)/understudy run quickstart --out runs/quickstart --overwrite

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the comparisons with Geant4 need its data (G4LEDATA) and take many minutes
bench: $(READY)
	$(BIN)/python benchmarks/command_line.py
	$(BIN)/python benchmarks/gflash_against_geant4.py --speed
	$(BIN)/python benchmarks/ecal_speed.py --batch 1 100 --rounds 5
	$(BIN)/python benchmarks/million_showers.py --showers 20000
	@if [ -n "$$G4LEDATA$$GEANT4_DATA_DIR" ]; then \
	  $(BIN)/python benchmarks/geant4_testem3.py && $(BIN)/python benchmarks/gflash_against_geant4.py --geant4 1000; \
	else echo "Geant4's data are not set (G4LEDATA): its measurements are left out"; fi

docs: $(READY)
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "wrote site/index.html"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis site
