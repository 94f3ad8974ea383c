# Two commands set everything up from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1

# The served page is tested in Chromium; BROWSER=no leaves these tests out.
BROWSER ?= yes

.PHONY: demo test check browser format clean

demo: $(VENV)/installed
	$(BIN)/palate demo

test: check browser
	$(BIN)/python -m pytest $(if $(filter no,$(BROWSER)),--ignore=tests/e2e)

browser:
ifeq ($(BROWSER),no)
	@echo "the page is not tested: BROWSER=no"
else
	@if [ -n "$$PALATE_CHROMIUM" ] || command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing Chromium, in which the page is tested ..."; \
		(apt-get update && apt-get install --yes --no-install-recommends chromium) >/dev/null 2>&1 \
			|| { echo "Chromium could not be installed; leave its tests out with: make test BROWSER=no"; exit 1; }; \
	else echo "the page is tested in Chromium: install it, say where it is (PALATE_CHROMIUM=/path), or make test BROWSER=no"; exit 1; fi
endif

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
	@$(BIN)/python -m pip install --quiet --quiet --editable '.[text,image,audio,tune,report,serve,dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo runs .pytest_cache .ruff_cache .hypothesis
