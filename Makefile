# From a fresh clone: `make demo` runs the whole pipeline on the built-in pictures, `make test`
# the tests. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := $(VENV)/tools
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup demo study test test-fast test-tools torture fuzz gpu lint docs format schema clean

help:  ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## Set up .venv with everything that ws3 and its tests need

# An exported empty CFLAGS would make pip build pydensecrf2 without optimisation, 13 times slower.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ws3 needs Python 3.11 or newer: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	env -u CFLAGS -u CXXFLAGS $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[workflow,test,dev,docs]'
	touch $@

demo: $(READY)  ## Run the whole pipeline on the built-in pictures
	$(BIN)/snakemake --logger ws3

STUDY_RUN := results/pascal10_seed
STUDY_DATA = dataset='{root: "$(DATA)/pascal10"}' \
	classifier='{weights: "$(DATA)/weights/mobilenet_v2_imagenet1k.pth"}'
# Every seed for these, all recipes of the study for the first.
FINAL := cam cam_16_walk refinecam layercam_product layercam_geometric gradient crops_20 contrast_input contrast_scales contrast_crops

study: $(READY)  ## Rerun docs/study.md: make study DATA=<folder with pascal10/ and weights/>
	test -f "$(DATA)/pascal10/labels.csv" || { echo 'make study DATA=FOLDER: $(DATA)/pascal10/labels.csv is not there' >&2; exit 2; }
	$(BIN)/snakemake --configfile config/studies/pascal10.yaml --config run=pascal10 seeds='[0, 1, 2]' $(STUDY_DATA) -- \
		$(STUDY_RUN)0/report/index.html $(FINAL:%=$(STUDY_RUN)1/evaluation/%.json) $(FINAL:%=$(STUDY_RUN)2/evaluation/%.json)
	$(BIN)/ws3 compare $(STUDY_RUN)0 $(STUDY_RUN)1 $(STUDY_RUN)2 --output results/pascal10_study
	$(BIN)/python benchmarks/study.py --output results/pascal10_study/study.json \
		mobilenet_v2=$(STUDY_RUN)0 mobilenet_v2=$(STUDY_RUN)1 mobilenet_v2=$(STUDY_RUN)2
	$(BIN)/snakemake --configfile config/studies/pascal10_segmenter.yaml --config $(STUDY_DATA)

# Three slow ones at a time on two cores: those of the cluster mostly wait.
test: $(READY)  ## Run all tests, the fast ones first
	$(BIN)/pytest -m "not slow" -n 2 --dist loadgroup
	$(BIN)/pytest -m slow -n 3 --dist loadgroup --durations=25

test-fast: $(READY)  ## Run the tests that take under about five seconds each
	$(BIN)/pytest -m "not slow" -n 2 --dist loadgroup

# A folder of their own: these packages ask for older versions than ours of what they share with us.
$(TOOLS)/.ready: $(READY) tests/tools.txt
	rm -rf $(TOOLS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(TOOLS) \
		--requirement tests/tools.txt
	touch $@

test-tools: $(TOOLS)/.ready  ## Run the tests of what other tools write, read and compute, with these tools
	WS3_TEST_TOOLS=1 PYTHONPATH=$(CURDIR)/$(TOOLS) $(BIN)/pytest tests/datasets/importing/test_import_by_tools.py \
		tests/exports/test_exports_readers.py tests/attribution/test_attribution_by_tools.py \
		tests/store/test_store_readers.py tests/tools/test_tools_crate.py

# Another seed: make torture TORTURE='--count 50 --seed 7'
TORTURE ?= --count 300

torture: $(READY)  ## Kill and harm the workflow hundreds of times, and compare (an hour or two)
	$(BIN)/python tests/torture/torture.py $(TORTURE)

# Another seed, or one border: make fuzz FUZZ='--count 1000 --seed 7 --only coco'
FUZZ ?= --count 5000

fuzz: $(READY)  ## Hand thousands of spoilt files and values to ws3 (about an hour)
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m fuzz $(FUZZ)

lint: $(READY) docs  ## Check style, types, imports, Snakemake files, words and documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow rules
	$(BIN)/snakemake --lint
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(BIN)/python tests/doc_words.py

# On a bare machine: it needs no .venv.
gpu:  ## Measure ws3 on a GPU, in at most eight minutes
	$(PYTHON) benchmarks/gpu.py

# Without the variable, its theme advertises its successor.
docs: $(READY)  ## Build the documentation site into site/, strictly and offline
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(READY)  ## Format all code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile workflow rules

schema: $(READY)  ## Write the files that follow from the code: schema, configuration page, drawings
	$(BIN)/python -m ws3.config.schema > config/schema.yaml
	$(BIN)/python -m ws3.config.reference > docs/config.md
	$(BIN)/python docs/hooks/floors.py > docs/floors.svg
	$(BIN)/python docs/hooks/drawings.py

clean:  ## Remove .venv and caches, but no results
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist site
