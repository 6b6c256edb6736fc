# The two commands that matter: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

# One more than there are processors, since many tests wait.
WORKERS ?= $(shell expr $$(nproc) + 1)

CLIENT_BIN := client/.venv/bin
WEB_BIN := web/.venv/bin

CLIENT_PAGES := spalloc.1 spalloc-ps.1 spalloc-machine.1 spalloc-job.1 spalloc-where-is.1
SERVER_PAGES := spalloc_server.1 spalloc-state.1 spalloc-simulator.1 spalloc-history.1
WEB_PAGES := spalloc-web.1 spalloc-web-user.1

.PHONY: run install test test-server test-client test-web soak lint types docs man bench profile house mutants test-all clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg setup.py
	@echo "Installing into $(VENV); the first time takes a minute or two."
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -e '.[docs,test]'
	touch $@

# The server on simulated frames, its history and its web pages; Ctrl-C ends all three.
DEMO_HISTORY := examples/.demo.history.db
run: install web/.venv/.installed
	@$(WEB_BIN)/spalloc-web --anonymous all --history $(DEMO_HISTORY) --log-level warning & \
	others=$$!; trap : INT; \
	$(BIN)/spalloc-history follow --database $(DEMO_HISTORY) >$(DEMO_HISTORY).log 2>&1 & \
	others="$$others $$!"; \
	$(BIN)/spalloc_server --simulate examples/demo.cfg & server=$$!; \
	trap 'kill $$server' TERM; \
	wait $$server || wait $$server; status=$$?; \
	kill $$others 2>/dev/null; wait $$others 2>/dev/null; exit $$status

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

# The manual and the man pages; any fault in them is an error.
docs: install man
	$(BIN)/python -m sphinx -W -q -d docs/_build/doctrees -b html docs docs/_build/html

# The man pages that the distributions install, written anew; they belong into commits.
man: install
	COLUMNS=80 $(BIN)/python -m sphinx -W -q -t man -c docs -D root_doc=spalloc -D suppress_warnings=toc.not_included \
		-D today="version $$($(BIN)/python -c 'import spalloc_server as s; print(s.__version__)')" \
		-d docs/_build/man-doctrees -b man docs/commands docs/_build/man
	mkdir -p docs/man client/man web/man
	cp $(addprefix docs/_build/man/, $(CLIENT_PAGES)) client/man
	cp $(addprefix docs/_build/man/, $(WEB_PAGES)) web/man
	cp $(addprefix docs/_build/man/, $(SERVER_PAGES)) docs/man

# Beside the public server that this one replaces; ARGS="--help" tells more.
bench: install
	$(BIN)/python -m benchmarks $(ARGS)

profile: install
	$(BIN)/python -m benchmarks.turn_profile $(ARGS)

test: test-server test-client test-web docs

test-server: lint types
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term

client/.venv/.installed: client/setup.cfg client/setup.py
	@echo "Installing into client/.venv ..."
	$(PYTHON) -m venv client/.venv
	$(CLIENT_BIN)/pip --disable-pip-version-check install -q -e 'client[test]'
	touch $@

test-client: lint client/.venv/.installed
	cd client && .venv/bin/mypy && .venv/bin/pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term

web/.venv/.installed: web/setup.cfg web/setup.py setup.cfg
	@echo "Installing into web/.venv ..."
	$(PYTHON) -m venv web/.venv
	$(WEB_BIN)/pip --disable-pip-version-check install -q -e '.[history]' -e 'web[notices,test]'
	touch $@

test-web: lint web/.venv/.installed
	cd web && .venv/bin/mypy && .venv/bin/pytest -n auto --dist loadfile --cov --cov-report=term

# Counts how easily the source is read; ARGS may name another checkout.
house: install
	$(BIN)/python -m tests.support.house $(ARGS)
	$(BIN)/python -m tests.support.walk

# Changes one thing in the source at a time, and tells of changes that no test notices.
mutants: install
	$(PIP) install -q -e '.[mutants]'
	$(BIN)/python -m tests.support.mutants $(ARGS)

# Wheels and sdists, tried in empty environments with every Python that is found.
test-all: install
	$(BIN)/python -m tests.matrix

# Looks further than `make test`, from seeds that are printed with what they found.
soak: SEED := $(shell date +%s)
soak: install
	@echo "seed $(SEED)"
	CONFIGURATIONS=3000 CONFIGURATIONS_SEED=$(SEED) FAILING_STARTS_STRIDE=1 RESTARTS=20 KILLS=20 UPGRADES=5 CRASH_KILLS=500 CRASH_SEED=$(SEED) \
	RECOVERY_LIVES=3000 RECOVERY_SEED=$(SEED) \
	HYPOTHESIS_PROFILE=soak $(BIN)/pytest -s

clean:
	rm -rf $(VENV) client/.venv web/.venv docs/_build build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
