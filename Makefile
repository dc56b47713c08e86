# Everything happens in .venv; nothing outside this folder is touched.
#   make demo    set up, then the main job on a simulated clip
#   make test    set up, then all checks and tests
#   make bench   set up, then measure speed and memory into OUT (bench.json), also beside the
#                official SAM2 video predictor
#   make bench-training   the same for training, on the GPU if there is one
#   make pictures   take the README's pictures of the Slicer modules anew
# TORCH=... chooses another build of torch, e.g. make TORCH="torch==2.12.1" demo

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
OUT ?= bench.json
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help setup demo bench bench-training pictures test test-heavy lint clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(VENV)/engine.done

$(VENV)/engine.done: pyproject.toml Makefile
	@echo "Setting up $(VENV): Python environment, torch, sam2, SAMUSA (a few minutes, once)"
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" || \
	    { echo "Python 3.10 or newer is needed: make PYTHON=python3.12 demo"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) "pip>=24" "setuptools>=70" wheel
	@$(PIP) "$(TORCH)"
	@$(PIP) --editable .
	@SAM2_BUILD_CUDA=0 $(PIP) --no-deps --no-build-isolation "sam2==1.1.0"
	@touch $@

$(VENV)/tests.done: $(VENV)/engine.done
	@echo "Adding the test tools and Slicer's libraries"
	@echo "(pip may say that sam2 lacks torchvision: what SAMUSA uses of it does not need that)"
	@$(PIP) --editable ".[test]"
	@$(PIP) --editable ".[scene]" || \
	    echo "note: slicer-core has no build for this Python; the tests in Testing/scene are skipped"
	@$(PIP) --editable ".[gui]" || \
	    echo "note: PySide6 has no build for this Python; the tests in Testing/gui are skipped"
	@touch $@

demo: setup
	@echo "Running the demo: a simulated cine, five boundary clicks, one window"
	@$(BIN)/samusa demo --out demo-output

bench: setup
	@echo "Measuring the engine on this computer (up to 10 minutes; leave it alone meanwhile)"
	@rm -f "$(OUT)"
	@$(BIN)/python Testing/benchmarks/engine.py --out "$(OUT)"
	@$(BIN)/python Testing/benchmarks/official.py --out "$(OUT)"
	@$(BIN)/python Testing/benchmarks/worker.py --out "$(OUT)"
	@$(BIN)/python Testing/benchmarks/in_slicer.py --out "$(OUT)"

bench-training: setup
	@echo "Measuring training on this computer (a few minutes; leave it alone meanwhile)"
	@rm -f "$(OUT)"
	@$(BIN)/python Testing/benchmarks/training.py --out "$(OUT)"

pictures: $(VENV)/tests.done
	@$(BIN)/python Testing/gui/make_pictures.py

lint: $(VENV)/tests.done
	@$(BIN)/ruff check SAMUSA SAMUSATemporal SegmentEditorBoundaryPoints Testing
	@$(BIN)/ruff format --check SAMUSA SAMUSATemporal SegmentEditorBoundaryPoints Testing
	@$(BIN)/lint-imports

test: lint
	@$(BIN)/python -m pytest

test-heavy: lint
	@$(BIN)/python -m pytest -m "heavy or not heavy"

clean:
	rm -rf $(VENV) demo-output
