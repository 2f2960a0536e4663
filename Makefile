# Each target does all the set-up that it needs and says what it does. Downloads are kept in
# WARDTUNE_CACHE_DIR, outside the build folder, and shared by all clones of one user.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export WARDTUNE_CACHE_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/wardtune
BUILD ?= build/release

tools  := $(WARDTUNE_CACHE_DIR)/tools-venv/bin
client := $(WARDTUNE_CACHE_DIR)/client-venv/bin
peer   := $(WARDTUNE_CACHE_DIR)/peer-venv/bin
say    := @printf '\n== %s\n'
# What the tests and the demo find the programs, the model and the Python client by.
find   := WARDTUNE_BUILD_DIR=$(CURDIR)/$(BUILD) PYTHONPATH=$(CURDIR)/clients/python/src

.PHONY: help demo test test-peer bench-train bench-unlearnable bench-scan bench-judge build lint tidy clean system libtorch model client-stubs tools configure

help: ## This list
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo "Downloads are kept in $(WARDTUNE_CACHE_DIR) (WARDTUNE_CACHE_DIR changes that)."

demo: build model client-stubs ## Train a security vector, fine-tune on mixed data, show the difference
	$(say) "Running the demo; its data folder is .demo/"
	$(find) $(client)/python deploy/demo/demo.py

test: build model client-stubs tools ## Every unit and multi-process test
	$(say) "C++ tests (ctest)"
	ctest --test-dir $(BUILD) --output-on-failure --no-tests=error
	$(say) "Tests of the scripts and the stand-in data (pytest)"
	$(tools)/pytest deploy bench
	$(say) "Tests of the Python client (pytest)"
	cd clients/python && $(find) $(client)/pytest
	$(say) "Tests with several processes (pytest)"
	go=$$(deploy/find_go.sh); $(find) GOTOOLCHAIN=local WARDTUNE_GO="$$go" $(client)/pytest tests --ignore tests/peer
	$(say) "Tests of the Go client (go test)"
	go=$$(deploy/find_go.sh); cd clients/go; $(find) GOTOOLCHAIN=local "$$go" test ./...

test-peer: build model client-stubs ## Compare with transformers, PEFT and TRL, live
	@deploy/setup_python.sh peer
	$(say) "Comparing with transformers, PEFT and TRL (pytest)"
	$(find) WARDTUNE_CLIENT_PYTHON=$(client)/python $(peer)/pytest tests/peer

bench-train: build model ## The training engine against transformers, PEFT and TRL (an hour); ROUNDS=5
	@deploy/setup_python.sh peer
	$(say) "Measuring; the results go to docs/bench/"
	$(find) $(peer)/python bench/train/run.py --rounds $(or $(ROUNDS),5) --work build/bench-train \
	  $(if $(ONLY),--only '$(ONLY)') $(if $(OUT),--out $(OUT))

bench-unlearnable: build model tools ## How far harmful behaviour takes, by method (hours; QUICK=1: 15 minutes)
	$(say) "Measuring; the results go to docs/bench/"
	$(find) $(tools)/python bench/unlearnable/run.py --work build/bench-unlearnable $(if $(QUICK),--quick) \
	  $(if $(MINUTES),--limit-minutes $(MINUTES)) $(if $(JOBS),--jobs $(JOBS)) $(if $(ONLY),--only '$(ONLY)')

bench-scan: build model tools ## How well the scan of rows finds harm and names its kind (a minute)
	$(find) $(tools)/python bench/unlearnable/scan.py --work build/bench-unlearnable --out docs/bench/row_scan.json

bench-judge: build model ## Train a language-model judge and measure it (10 minutes)
	python3 bench/standin/generate.py --out build/bench-judge
	$(say) "Measuring; the result goes to docs/bench/judge.json"
	$(BUILD)/bench/judge-bench --model=$(WARDTUNE_CACHE_DIR)/models/SmolLM2-135M-Instruct --judge_rows=build/bench-judge/judge_rows.jsonl \
	  --judge_rules=build/bench-judge/lm_judge_rules.json --heldout=build/bench-judge/heldout_judge.jsonl --out=docs/bench/judge.json

build: configure ## Configure and build everything
	$(say) "Building into $(BUILD)"
	cmake --build $(BUILD)

lint: tools ## Formatting, style and the rules between the rooms
	$(say) "Formatting of C++ (clang-format)"
	files=$$(git ls-files '*.cc' '*.h'); [[ -n "$$files" ]]; clang-format-19 --dry-run --Werror $$files
	$(say) "Rules between the rooms (check_includes.py)"
	deploy/check_includes.py
	$(say) "Python (ruff)"
	$(tools)/ruff check . && $(tools)/ruff format --check .
	$(say) "The contract (buf)"
	$(tools)/buf lint proto
	$(say) "Go code of the contract (generate.sh --check)"
	clients/go/generate.sh --check
	$(say) "Go (gofmt)"
	go=$$(deploy/find_go.sh); files=$$("$$("$$go" env GOROOT)/bin/gofmt" -l clients/go); [[ -z "$$files" ]] || { echo "$$files: run gofmt -w"; exit 1; }

tidy: configure ## Static analysis of the C++ code (clang-tidy; takes long)
	cmake --build $(BUILD) --target wt_proto
	run-clang-tidy-19 -quiet -p $(BUILD) '^$(CURDIR)/(base|formats|storage|server|worker)/'

clean: ## Remove what was built; the downloads stay
	rm -rf build .demo

# ---- Steps of the targets above

system:
	@deploy/install_system_packages.sh

libtorch: system
	@deploy/fetch_libtorch.sh

model: system
	@deploy/fetch_model.sh

tools: system
	@deploy/setup_python.sh tools

client-stubs: system
	@deploy/setup_python.sh client
	@$(client)/python clients/python/generate.py

configure: libtorch
	$(say) "Configuring $(BUILD)"
	cmake -S . -B $(BUILD) -G Ninja -DWARDTUNE_CACHE_DIR="$(WARDTUNE_CACHE_DIR)"
