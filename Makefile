# Everything a person needs, from a fresh machine with Python 3.11+ and make. `make` alone lists the targets.

PYTHON ?= python3
# How many test processes run side by side, how many seconds the whole suite may take, and what pytest is also told.
JOBS ?= 2
BUDGET ?= 1200
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check bench oracles wheel clean

help:
	@echo "make demo     compose three pieces, follow a melody and listen to them with the built-in models; all goes to demo/"
	@echo "make test     run the tests (JOBS=$(JOBS) processes, BUDGET=$(BUDGET) seconds, ARGS= for pytest)"
	@echo "make check    format, lint, types and floors"
	@echo "make bench    measure speed and memory against the limits of this machine (ARGS= for benchmarks/run.py)"
	@echo "make oracles  run audiocraft, kyutai's moshi and PEFT on tiny models, write their numbers anew, compare with them and with transformers"
	@echo "make wheel    build the wheel into dist/"
	@echo "make clean    remove everything made here except $(VENV)"
	@echo
	@echo "The first target that needs it makes $(VENV) with $(PYTHON) (PYTHON= for another one)."

# Made once, and again when the lock or the project file changes. The project itself is built with what the lock
# installed, so that nothing outside the lock is fetched.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Antiphon needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) cannot make an environment (on Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Installing into $(VENV); the first time fetches torch and takes some minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	@$(BIN)/python examples/demo.py $(ARGS)

# Files stay together so that what a file builds for its tests is built once.
test: $(READY)
	@ANTIPHON_TEST_BUDGET_S=$(BUDGET) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/contract/test_floors.py tests/contract/test_style.py

bench: $(READY)
	@$(BIN)/python benchmarks/run.py $(ARGS)

# audiocraft pins an old torch and much that is not needed to compute; it gets an environment of its own, without its
# pins. torchaudio comes without its compiled libraries, which belong to another build of torch. `make test` needs none of
# this: it compares with the numbers that lie in oracles/goldens (docs/oracles.md).
AUDIOCRAFT := .oracles/audiocraft
AUDIOCRAFT_READY := $(AUDIOCRAFT)/.ready
PIP_QUIETLY := pip install --quiet --disable-pip-version-check

$(AUDIOCRAFT_READY): oracles/audiocraft.txt oracles/audiocraft-alone.txt
	@test -x $(AUDIOCRAFT)/bin/python || $(PYTHON) -m venv $(AUDIOCRAFT)
	@echo "Installing audiocraft into $(AUDIOCRAFT); the first time fetches torch and takes some minutes."
	@$(AUDIOCRAFT)/bin/python -m $(PIP_QUIETLY) -r oracles/audiocraft.txt
	@$(AUDIOCRAFT)/bin/python -m $(PIP_QUIETLY) --no-deps -r oracles/audiocraft-alone.txt
	@rm -rf $(AUDIOCRAFT)/lib/python3*/site-packages/torchaudio/lib
	@touch $@

# kyutai's package pins an old torch as well, and asks for a sound device and a web server.
KYUTAI := .oracles/kyutai
KYUTAI_READY := $(KYUTAI)/.ready

$(KYUTAI_READY): oracles/kyutai.txt oracles/kyutai-alone.txt
	@test -x $(KYUTAI)/bin/python || $(PYTHON) -m venv $(KYUTAI)
	@echo "Installing kyutai's moshi into $(KYUTAI); the first time fetches torch and takes some minutes."
	@$(KYUTAI)/bin/python -m $(PIP_QUIETLY) -r oracles/kyutai.txt
	@$(KYUTAI)/bin/python -m $(PIP_QUIETLY) --no-deps -r oracles/kyutai-alone.txt
	@touch $@

# PEFT asks for much that it does not need to compute: it gets an environment of its own, with ours behind it.
PEFT := .oracles/peft
PEFT_READY := $(PEFT)/.ready

$(PEFT_READY): $(READY) oracles/peft.txt
	@test -x $(PEFT)/bin/python || $(BIN)/python -m venv $(PEFT)
	@$(PEFT)/bin/python -m $(PIP_QUIETLY) --no-deps -r oracles/peft.txt
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $$(echo $(PEFT)/lib/python3*/site-packages)/ours.pth
	@touch $@

oracles: $(READY) $(AUDIOCRAFT_READY) $(KYUTAI_READY) $(PEFT_READY)
	@for script in windows melody codec loudness checkpoints; do OMP_NUM_THREADS=1 $(AUDIOCRAFT)/bin/python -W ignore oracles/$$script.py || exit 1; done
	@OMP_NUM_THREADS=1 $(KYUTAI)/bin/python -W ignore oracles/kyutai.py
	@OMP_NUM_THREADS=1 $(BIN)/python -W ignore oracles/chroma.py
	@PYTHONHASHSEED=0 OMP_NUM_THREADS=1 PYTHONPATH=. $(PEFT)/bin/python -W ignore oracles/adapters.py
	@$(BIN)/python -m pytest tests/oracles tests/models $(ARGS)
	@rm -rf .oracles/written && OMP_NUM_THREADS=1 $(BIN)/python oracles/written_back.py .oracles/written
	@OMP_NUM_THREADS=1 $(AUDIOCRAFT)/bin/python -W ignore oracles/checkpoints.py .oracles/written/audiocraft
	@OMP_NUM_THREADS=1 $(KYUTAI)/bin/python -W ignore oracles/kyutai.py .oracles/written/kyutai

wheel: $(READY)
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean:
	rm -rf build dist demo .oracles .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
