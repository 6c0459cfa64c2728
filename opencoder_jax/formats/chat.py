"""How a conversation becomes tokens, for training and for generation alike.

With the project's own tokenizer it is ChatML: each message is `<|im_start|>` role newline
content `<|im_end|>` newline; a conversation without a system message gets the released
models' default one. The layout is the one of the released chat template. The released
fine-tuning script (OpenCoder repository, `sft/`) puts a newline before the `<|im_end|>` of
an answer, which that template does not; here training follows the template, so that a
model sees in a dialogue's history exactly what it was trained to write.

With a Hugging Face tokenizer it is that checkpoint's chat template (`chat_template`).
Either way a content that spells a special token stays text: it cannot forge a turn.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import ROLES
from opencoder_jax.formats.sentencepiece_tokenizer import SentencePieceTokenizer
from opencoder_jax.formats.tokenizer import Tokenizer, TokenizerError

if TYPE_CHECKING:
    from opencoder_jax.formats.chat_template import ChatTemplate

DEFAULT_SYSTEM = "You are OpenCoder, created by OpenCoder Team."

Message = tuple[str, str]


class EncodedChat(NamedTuple):
    """A conversation in tokens.

    Attributes:
      ids: of the whole conversation.
      weights: 1 where a token is to be predicted, 0 elsewhere.
      text_bytes: UTF-8 bytes of text that the predicted tokens stand for.
    """

    ids: list[int]
    weights: list[int]
    text_bytes: int


def encode_chat(
    messages: Sequence[Message], tokenizer: Tokenizer, last_answer_only: bool = False
) -> EncodedChat:
    """A whole conversation.

    The contents of assistant turns are predicted, and the token that ends each (paper
    §4.3 trains on answers only).

    Args:
      messages: (role, content) of each turn.
      tokenizer: the model's.
      last_answer_only: the last assistant turn alone is predicted.

    Raises:
      InputError: an unknown role, a system message that is not the first, or a conversation
        that the tokenizer's chat template has no form for.
    """
    _check(messages)
    if isinstance(tokenizer, SentencePieceTokenizer):
        return _encode_chatml(messages, tokenizer, last_answer_only)
    return EncodedChat(*_template(tokenizer).encode(messages, last_answer_only))


def encode_prompt(messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Tokens of a conversation with a new assistant turn opened at its end.

    Raises:
      InputError: as `encode_chat`.
    """
    _check(messages)
    if isinstance(tokenizer, SentencePieceTokenizer):
        ids = _encode_chatml(messages, tokenizer).ids
        return [*ids, tokenizer.im_start, *tokenizer.encode("assistant\n")]
    return _template(tokenizer).prompt_ids(messages)


def layout_fingerprint(tokenizer: Tokenizer) -> str:
    """Of what a conversation's tokens depend on besides the tokenizer; empty for ChatML.

    Raises:
      InputError: the tokenizer has no chat template.
    """
    if isinstance(tokenizer, SentencePieceTokenizer):
        return ""
    return _template(tokenizer).fingerprint


def _template(tokenizer: Tokenizer) -> "ChatTemplate":
    # Here, because a machine that cleans documents has only one of the two libraries.
    from opencoder_jax.formats.huggingface_tokenizer import HuggingFaceTokenizer

    if not isinstance(tokenizer, HuggingFaceTokenizer):
        raise TokenizerError(f"{tokenizer.path}: no chat format is known for it")
    return tokenizer.chat_template


def _encode_chatml(
    messages: Sequence[Message],
    tokenizer: SentencePieceTokenizer,
    last_answer_only: bool = False,
) -> EncodedChat:
    turns = _with_system(messages)
    answers = [index for index, (role, _) in enumerate(turns) if role == "assistant"]
    learned = set(answers[-1:] if last_answer_only else answers)
    ids: list[int] = []
    weights: list[int] = []
    newline = tokenizer.encode("\n")
    text_bytes = 0
    for index, (role, content) in enumerate(turns):
        if role == "assistant":
            # As in `encode_prompt`, the content starts a token of its own.
            head, answer = tokenizer.encode("assistant\n"), tokenizer.encode(content)
            text_bytes += len(content.encode("utf-8")) if index in learned else 0
        else:
            head, answer = tokenizer.encode(f"{role}\n{content}"), []
        turn = [tokenizer.im_start, *head, *answer, tokenizer.im_end, *newline]
        first = 1 + len(head)
        predicted = len(answer) + 1 if index in learned else 0
        ids += turn
        weights += [int(first <= i < first + predicted) for i in range(len(turn))]
    return EncodedChat(ids, weights, text_bytes)


def _check(messages: Sequence[Message]) -> None:
    for index, (role, _) in enumerate(messages):
        if role not in ROLES:
            raise InputError(f"message {index}: role {role!r}, expected one of {ROLES}")
        if role == "system" and index:
            raise InputError(f"message {index}: a system message has to be the first")


def _with_system(messages: Sequence[Message]) -> list[Message]:
    if messages and messages[0][0] == "system":
        return list(messages)
    return [("system", DEFAULT_SYSTEM), *messages]
