# Two commands set everything up from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test check format clean

demo: $(VENV)/installed
	$(BIN)/palate demo

test: check
	$(BIN)/python -m pytest

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: pyproject.toml src/palate/version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Palate needs Python 3.11 or newer; say where it is: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing Palate and what it needs into $(VENV) (a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --quiet --editable '.[text,image,audio,tune,report,dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo runs .pytest_cache .ruff_cache .hypothesis
