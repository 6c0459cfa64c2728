"""The tokenizer in a GGUF file, as `tokenizer.json` and what stands beside it.

The file has the vocabulary, the merges, and the name of what splits a text before them
(`tokenizer.ggml.pre`); llama.cpp knows by heart what the name means, and so does the table
here. A name that it does not have is refused: ids would come out that the model has not seen.
"""

import os
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import write_json
from opencoder_jax.formats.tokenizer import (
    GENERATION_CONFIG_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
)
from opencoder_jax.huggingface.gguf_file import GgufFile

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # `gguf.TokenType`
_NAMED = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
# Of a ChatML or Llama 3 model whose documents end with another token than its turns.
_END_IDS = ("eos_token_id", "eot_token_id")
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Models that put a BOS before texts where the file does not say; their merges are not asked for
# a word that is a token.
_LLAMA_3_NAMES = ("llama-bpe", "llama3", "llama-v3")
_SINGLE_DIGITS = ("smollm", "starcoder", "refact", "codeshell")


def write_tokenizer(folder: str | os.PathLike, source: GgufFile) -> None:
    """Writes the tokenizer's files; the folder exists.

    Raises:
      GgufError: a kind of tokenizer that is not known here, or a damaged one.
    """
    folder = Path(folder)
    tokens = source.value("tokenizer.ggml.tokens", [])
    try:
        built = _build(source, tokens)
    except InputError:
        raise
    except Exception as error:  # The library raises nothing narrower.
        raise source.error(f"the tokenizer is damaged: {error}") from error
    ids = {name: source.value(f"tokenizer.ggml.{key}") for name, key in _NAMED.items()}
    ends = [source.value(f"tokenizer.ggml.{key}") for key in _END_IDS]
    for token in (*ids.values(), *ends):
        if token is not None and not (isinstance(token, int) and 0 <= token < len(tokens)):
            raise source.error(f"a special token is {token!r}, of {len(tokens)} tokens")
    built.save(str(folder / TOKENIZER_FILE))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": source.value("llama.context_length"),
        **{name: tokens[token] for name, token in ids.items() if token is not None},
    }
    template = source.value("tokenizer.chat_template")
    if template is not None:
        config["chat_template"] = template
    write_json(folder / TOKENIZER_CONFIG_FILE, config)
    # A list only where there are several; once each.
    ends = list(dict.fromkeys(end for end in ends if end is not None))
    if ends:
        eos = ends[0] if len(ends) == 1 else ends
        write_json(folder / GENERATION_CONFIG_FILE, {"eos_token_id": eos, "do_sample": False})


def _build(source: GgufFile, tokens: list[str]) -> tokenizers.Tokenizer:
    kind = source.value("tokenizer.ggml.model")
    pre = source.value("tokenizer.ggml.pre")
    if kind != "gpt2":
        raise source.error(f"a tokenizer of the kind {kind!r}; only gpt2 (byte-level BPE) is read")
    split = _pre_tokenizer(pre)
    if split is None:
        known = ("gpt-2", *_SINGLE_DIGITS, *_LLAMA_3_NAMES)
        raise source.error(
            f"texts are split as {pre!r} says before they are encoded; known are {', '.join(known)}"
        )
    types = source.value("tokenizer.ggml.token_type", [])
    merges = [tuple(merge.split(" ")) for merge in source.value("tokenizer.ggml.merges", [])]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    if not len(vocabulary) == len(tokens) == len(types) or any(len(pair) != 2 for pair in merges):
        raise source.error(
            f"the tokenizer is damaged: {len(tokens)} tokens, {len(vocabulary)} different ones, "
            f"{len(types)} types, {len(merges)} merges"
        )
    llama_3 = pre in _LLAMA_3_NAMES
    built = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=llama_3))
    built.pre_tokenizer = split
    built.decoder = decoders.ByteLevel()
    for token, token_type in zip(tokens, types, strict=True):
        if token_type in (_UNKNOWN, _CONTROL):
            built.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        elif token_type == _USER_DEFINED:
            built.add_tokens([AddedToken(token, normalized=False)])
    bos = source.value("tokenizer.ggml.bos_token_id")
    if source.value("tokenizer.ggml.add_bos_token", llama_3) and bos is not None:
        built.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", special_tokens=[(tokens[bos], bos)]
        )
    return built


def _pre_tokenizer(name: Any) -> pre_tokenizers.PreTokenizer | None:
    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name in _SINGLE_DIGITS:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    if name in _LLAMA_3_NAMES:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_LLAMA_3), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    return None
