# make setup   .venv with the official DreamerV3, repaired, and LoRe
# make train   trains on DoorKey-5x5 with advice; again, it goes on
# make test    lint and tests; test-unit, test-agent, test-process: one tier
# make test-long      the tests that train for minutes
# make test-ray       runs on a Ray cluster of two workers
# make test-upstream CHECKOUT=PATH   the quick ones on a clone of upstream
# make test-old-jax   the quick ones on jax 0.4.33
# make test-nightly   10,000 hostile texts for each property
# make test-faults    a training run against each fault of a server

PYTHON ?= $(firstword $(foreach x,python3 python3.13 python3.12 python3.11,\
  $(shell $(x) -c 'import sys; print("$(x)") if sys.version_info >= (3, 11) \
  else None' 2>/dev/null)))
OLD_PYTHON ?= $(firstword $(foreach x,python3.12 python3.11 python3,\
  $(shell $(x) -c 'import sys; print("$(x)") if (3, 11) <= \
  sys.version_info[:2] <= (3, 12) else None' 2>/dev/null)))
VENV ?= .venv
OLD_VENV ?= .venv-old-jax
LOGDIR ?= logdir/doorkey
ARGS ?=
TESTS ?= tests
# A module's tests share what they set up; modules that take long go first.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

INPUTS := setup.py pyproject.toml lore_plugin/upstream/patch.py \
  $(wildcard patches/*.txt patches/build/*.py)

.PHONY: setup train test test-unit test-agent test-process test-long test-ray \
  test-upstream test-old-jax test-nightly test-faults lint

setup: $(VENV)/.done

$(VENV)/.done: $(INPUTS)
	bash patches/setup.sh '$(PYTHON)' '$(VENV)' patches/constraints.txt
	touch $@

$(OLD_VENV)/.done: $(INPUTS)
	bash patches/setup.sh '$(OLD_PYTHON)' '$(OLD_VENV)' \
	  patches/constraints-old-jax.txt
	touch $@

train: setup
	$(VENV)/bin/python -m dreamerv3 --configs minigrid lore \
	  --logdir '$(LOGDIR)' $(ARGS)

test: setup lint
	$(VENV)/bin/python -m pytest -q $(WORKERS) -m "not long" $(TESTS)

test-long: setup
	$(VENV)/bin/python -m pytest -q $(WORKERS) -m long --durations=0 \
	  --durations-min=1 $(TESTS)

test-unit test-agent test-process: test-%: setup
	$(VENV)/bin/python -m pytest -q $(WORKERS) -m "$* and not long" $(TESTS)

test-ray: setup
	LORE_RAY=1 $(VENV)/bin/python -m pytest -q tests/test_ray.py

test-old-jax: $(OLD_VENV)/.done
	$(OLD_VENV)/bin/python -m pytest -q $(WORKERS) -m "not slow" $(TESTS)

test-upstream: setup
	@test -f '$(CHECKOUT)/dreamerv3/main.py' || { echo 'Give a clone of \
	github.com/danijar/dreamerv3: make test-upstream CHECKOUT=PATH' >&2; exit 2; }
	PYTHONPATH='$(abspath $(CHECKOUT))' $(VENV)/bin/python -m \
	  lore_plugin doctor --contract
	PYTHONPATH='$(abspath $(CHECKOUT))' $(VENV)/bin/python -m pytest -q \
	  $(WORKERS) -m "not slow" $(TESTS)
	LORE_UPSTREAM_CHECKOUT='$(abspath $(CHECKOUT))' $(VENV)/bin/python -m \
	  pytest -q tests/test_bitwise.py

test-nightly: setup
	LORE_CASES=10000 $(VENV)/bin/python -m pytest -q --durations=0 \
	  -n 2 tests/test_hostile.py

test-faults: setup
	LORE_FAULTS=results/advisor/faults.md \
	  $(VENV)/bin/python -m pytest -q tests/test_advisor_training.py

lint: setup
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m mypy
