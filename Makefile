# MedDenoise: `make demo` shows it at work, `make test` checks it. Both install what they need into .venv.
#
#   make demo                     a numerical abdomen, low dose, denoised, measured; results in demo/
#   make demo INPUT=path          the same for a CT of yours (a DICOM folder, NRRD, NIfTI or MHA)
#   make test                     style, types and every test
#   make lint                     style and types alone
#   make benchmark                speed and memory, as ratios in one run (some minutes; nothing else should run)
#   make bm3d                     installs BM3D, a peer of the training benchmark (non-commercial licence)
#   make clean                    removes .venv, demo/ and build/
#
# On Linux without an NVIDIA GPU PyPI's torch brings 3 GB of CUDA along; its CPU build is smaller:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_ARGS ?=
INPUT ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYDICOM2 := $(VENV)/pydicom-2.4.4

.PHONY: demo test lint benchmark bm3d clean

$(READY): pyproject.toml training/pyproject.toml constraints.txt
	@echo "== Installing MedDenoise and what it needs into $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e ".[demo,test]" -e ./training
	@touch $(READY)

# Slicer 5.10 ships pydicom 2.4.4: the DICOM tests run a second time with it.
$(PYDICOM2): $(READY)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --no-deps --upgrade --target $(PYDICOM2) pydicom==2.4.4
	@touch $(PYDICOM2)

demo: $(READY)
	$(BIN)/python -m tools.demo $(if $(INPUT),--input "$(INPUT)")

lint: $(READY)
	@echo "== Style and types"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint $(PYDICOM2)
	@echo "== DICOM tests on pydicom 2.4.4"
	PYTHONPATH=$(PYDICOM2) $(BIN)/python -c "import pydicom; assert pydicom.__version__ == '2.4.4', pydicom.__file__"
	PYTHONPATH=$(PYDICOM2) $(BIN)/python -m pytest -q Testing/engine/test_dicom*.py
	@echo "== All tests"
	$(BIN)/python -m pytest

benchmark: $(READY)
	$(BIN)/python -m tools.benchmark

bm3d: $(READY)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e "./training[bm3d]"

clean:
	rm -rf $(VENV) demo build
