"""A small byte-level BPE in Hugging Face's format, as GPT-2, Llama 3 and SmolLM have one."""

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.opencoder_jax.model.small_models import standard_library_texts

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCAB_SIZE = 600
# SmolLM2's, shortened.
CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_folder(
    folder: Path,
    *,
    template: str | None = CHATML,
    bos: bool = False,
    normalizer: Any = None,
    prefix_space: bool = False,
    **config: Any,
) -> Path:
    """`tokenizer.json` and what stands beside it.

    Args:
      folder: a new folder.
      template: chat template; None for a base model's folder.
      bos: whether `<|im_start|>` is put before every text.
      normalizer: of texts.
      prefix_space: whether a space is added to them.
      **config: further entries of `tokenizer_config.json`.
    """
    folder.mkdir(parents=True)
    built = tokenizers.Tokenizer(models.BPE())
    if normalizer:
        built.normalizer = normalizer
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    built.decoder = decoders.ByteLevel()
    built.train_from_iterator(
        [text[:8000] for text in standard_library_texts(10)],
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos:
        built.post_processor = processors.TemplateProcessing(
            single=f"{SPECIAL[1]} $A", special_tokens=[(SPECIAL[1], 1)]
        )
    built.save(str(folder / "tokenizer.json"))
    values = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[1],
        "eos_token": {"__type": "AddedToken", "content": SPECIAL[2], "special": True},
        "pad_token": SPECIAL[0],
        **({"chat_template": template} if template else {}),
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return folder


nfc = normalizers.NFC
