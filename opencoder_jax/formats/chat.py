"""ChatML: how a conversation becomes tokens, for training and for generation alike.

Each message is `<|im_start|>` role newline content `<|im_end|>` newline; a conversation
without a system message gets the released models' default one. The layout is the one of
the released chat template. The released fine-tuning script (OpenCoder repository, `sft/`)
puts a newline before the `<|im_end|>` of an answer, which that template does not; here
training follows the template, so that a model sees in a dialogue's history exactly what it
was trained to write.

`<|im_start|>` and `<|im_end|>` come by id; a content that spells them stays text, so it
cannot forge a turn. `opencoder_jax.formats.conversation` is the record.
"""

from collections.abc import Sequence

from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import ROLES
from opencoder_jax.formats.tokenizer import Tokenizer

DEFAULT_SYSTEM = "You are OpenCoder, created by OpenCoder Team."

Message = tuple[str, str]


def encode_chat(messages: Sequence[Message], tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Tokens of a whole conversation and which of them are to be predicted.

    Args:
      messages: (role, content) of each turn.
      tokenizer: the model's.

    Returns:
      ids, and as many loss weights: 1 for the contents of assistant turns and the
      `<|im_end|>` after each (paper §4.3 trains on answers only), 0 elsewhere.

    Raises:
      InputError: an unknown role, or a system message that is not the first.
    """
    ids: list[int] = []
    weights: list[int] = []
    newline = tokenizer.encode("\n")
    for role, content in _with_system(messages):
        if role == "assistant":
            # As in `encode_prompt`, the content starts a token of its own.
            head, answer = tokenizer.encode("assistant\n"), tokenizer.encode(content)
        else:
            head, answer = tokenizer.encode(f"{role}\n{content}"), []
        turn = [tokenizer.im_start, *head, *answer, tokenizer.im_end, *newline]
        first = 1 + len(head)
        predicted = len(answer) + 1 if role == "assistant" else 0
        ids += turn
        weights += [int(first <= i < first + predicted) for i in range(len(turn))]
    return ids, weights


def encode_prompt(messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Tokens of a conversation with a new assistant turn opened at its end.

    Raises:
      InputError: an unknown role, or a system message that is not the first.
    """
    ids, _ = encode_chat(messages, tokenizer)
    return [*ids, tokenizer.im_start, *tokenizer.encode("assistant\n")]


def _with_system(messages: Sequence[Message]) -> list[Message]:
    for index, (role, _) in enumerate(messages):
        if role not in ROLES:
            raise InputError(f"message {index}: role {role!r}, expected one of {ROLES}")
        if role == "system" and index:
            raise InputError(f"message {index}: a system message has to be the first")
    if messages and messages[0][0] == "system":
        return list(messages)
    return [("system", DEFAULT_SYSTEM), *messages]
