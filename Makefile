# Each target starts from a bare Python >= 3.11: it makes $(VENV), installs the pinned versions, and runs.
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/demo
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint docs bench clean

demo: $(INSTALLED)  ## what the biomechanical losses add to 2D labels: three arms, and a page that opens with their hands
	$(BIN)/bmc experiment demo --seeds 1 --out $(RUN)
	$(BIN)/bmc report $(RUN)

test: $(INSTALLED)  ## every test, on four fake devices, warnings as errors
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED)  ## style, layers and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright --pythonpath $(BIN)/python

docs: $(INSTALLED)  ## the documentation's site, in site/: warnings are errors; no network is used
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(INSTALLED)  ## the losses against PyTorch and C++; checking, renderer, augmentation, input, scaling
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/losses.py --plot benchmarks/losses.png
	$(BIN)/python benchmarks/check.py --seconds 1
	$(BIN)/python benchmarks/render.py --images 32
	$(BIN)/python benchmarks/augment.py
	$(BIN)/python benchmarks/input.py --steps 300
	$(BIN)/python benchmarks/scaling.py --processes 1 2

clean:
	rm -rf $(VENV) runs site

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "bmc-jax needs Python >= 3.11 and $(PYTHON) is $$($(PYTHON) --version). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
