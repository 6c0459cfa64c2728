"""Conversations under a checkpoint's own chat template, for training and for generation.

A template is a Jinja program in `chat_template.jinja` or `tokenizer_config.json`, rendered
in a sandbox as `transformers` does (docs/huggingface.md says where we differ). It gives
text; training also has to know which of it the model writes. Where the template marks that
with `{% generation %}` its marks are taken. Else an answer is what its turn adds to the
rendering of the messages before it with an opened assistant turn, up to the token that ends
the turn; a template that rewrites earlier turns has no such beginning and is refused.

Special tokens are those that the template spells. A content that spells one stays text: a
mark is put into it before rendering and taken out of the text between special tokens.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import jinja2.ext
import jinja2.sandbox

from opencoder_jax.errors import InputError
from opencoder_jax.formats.huggingface_tokenizer import HuggingFaceTokenizer
from opencoder_jax.formats.manifest import fingerprint
from opencoder_jax.formats.tokenizer import TOKENIZER_CONFIG_FILE, read_json_object

TEMPLATE_FILE = "chat_template.jinja"

Message = tuple[str, str]


class TemplateError(InputError):
    """A chat template that is missing, fails, or does not say what the model writes."""


class Run(NamedTuple):
    """A stretch of a rendered conversation, predicted or not."""

    text: str
    predicted: bool


class ChatTemplate:
    """The chat template of a tokenizer's folder.

    Attributes:
      fingerprint: of the template and the special tokens that it may name.

    Raises:
      TemplateError: there is none, or it is no Jinja.
    """

    def __init__(self, tokenizer: HuggingFaceTokenizer):
        self._tokenizer = tokenizer
        self._name, self._source = _find(tokenizer.path.parent)
        self.fingerprint = fingerprint([self._source, tokenizer.special_tokens])
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, jinja2.ext.loopcontrols],
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        try:
            self._template = environment.from_string(self._source)
        except jinja2.TemplateError as error:
            raise TemplateError(f"{self._name} is no Jinja template: {error}") from error
        specials = sorted(tokenizer.special_ids, key=len, reverse=True)
        self._specials = re.compile("|".join(map(self._pattern, specials)) or r"(?!)")

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of a conversation with a new assistant turn opened at its end.

        Raises:
          TemplateError: the template refuses the conversation.
        """
        marks = _Marks(self._source, messages)
        text = marks.without_spans(self._render(messages, marks, opened=True))
        return self._encode(text, marks)

    def encode(
        self, messages: Sequence[Message], last_answer_only: bool = False
    ) -> tuple[list[int], list[int], int]:
        """Tokens of a whole conversation and which of them are to be predicted.

        Args:
          messages: (role, content) of each turn.
          last_answer_only: the last assistant turn alone is predicted.

        Returns:
          ids; as many loss weights, 1 or 0; the UTF-8 bytes of text that are predicted.

        Raises:
          TemplateError: the template refuses the conversation, or does not show which text
            is the assistant's.
        """
        marks = _Marks(self._source, messages)
        ids: list[int] = []
        weights: list[int] = []
        text_bytes = 0
        runs = self._runs(messages, marks)
        if last_answer_only:
            runs = self._last_alone(runs, messages, marks)
        for text, predicted in runs:
            # Each run is encoded for itself: generation too starts after an encoded prompt.
            run = self._encode(text, marks)
            ids += run
            weights += [int(predicted)] * len(run)
            if predicted:
                plain = marks.without(self._specials.sub("", text))
                text_bytes += len(plain.encode("utf-8"))
        return ids, weights, text_bytes

    def _runs(self, messages: Sequence[Message], marks: "_Marks") -> list[Run]:
        whole = self._render(messages, marks)
        if marks.span_start in whole:
            return marks.marked_runs(whole)
        runs: list[Run] = []
        at = 0
        for index, (role, _) in enumerate(messages):
            if role != "assistant":
                continue
            start = self._common(messages[:index], marks, whole, opened=True)
            stop = self._common(messages[: index + 1], marks, whole)
            if not at <= start <= stop:
                raise self._inconsistent(index)
            end = self._turn_end(whole, start, stop)
            runs += [Run(whole[at:start], False), Run(whole[start:end], True)]
            at = end
        return [*runs, Run(whole[at:], False)]

    def _last_alone(
        self, runs: Sequence[Run], messages: Sequence[Message], marks: "_Marks"
    ) -> list[Run]:
        """The same runs, of which only those of the last assistant turn are predicted."""
        answers = [index for index, (role, _) in enumerate(messages) if role == "assistant"]
        # A template may mark several stretches of one answer.
        earlier = sum(run.predicted for run in self._runs(messages[: answers[-1]], marks))
        alone, count = [], 0
        for run in runs:
            count += run.predicted
            alone.append(Run(run.text, run.predicted and count > earlier))
        return alone

    def _common(
        self, messages: Sequence[Message], marks: "_Marks", whole: str, opened: bool = False
    ) -> int:
        beginning = self._render(messages, marks, opened=opened)
        if not whole.startswith(beginning):
            raise self._inconsistent(len(messages) - (not opened))
        return len(beginning)

    def _inconsistent(self, index: int) -> TemplateError:
        return TemplateError(
            f"{self._name}: message {index} does not follow what the template makes of the "
            "messages before it, so the assistant's text cannot be told from the rest; put it "
            "between {% generation %} and {% endgeneration %} in the template"
        )

    def _turn_end(self, whole: str, start: int, stop: int) -> int:
        """The end of an answer: after the first token that ends generation, or any special."""
        found = list(self._specials.finditer(whole, start, stop))
        ends = [
            match
            for match in found
            if self._tokenizer.special_ids[self._special_of(match)] in self._tokenizer.eos_ids
        ]
        return (ends or found)[0].end() if found else stop

    def _encode(self, text: str, marks: "_Marks") -> list[int]:
        ids: list[int] = []
        at = 0
        for match in self._specials.finditer(text):
            if match.start() > at:
                ids += self._tokenizer.encode(marks.without(text[at : match.start()]))
            ids.append(self._tokenizer.special_ids[self._special_of(match)])
            at = match.end()
        return [*ids, *(self._tokenizer.encode(marks.without(text[at:])) if at < len(text) else [])]

    def _pattern(self, token: str) -> str:
        before, after = self._tokenizer.strips[token]
        return rf"{r'\s*' if before else ''}{re.escape(token)}{r'\s*' if after else ''}"

    def _special_of(self, match: re.Match[str]) -> str:
        token = match.group()
        return token if token in self._tokenizer.special_ids else token.strip()

    def _render(self, messages: Sequence[Message], marks: "_Marks", opened: bool = False) -> str:
        protected = [
            {"role": role, "content": marks.protect(content, self._tokenizer.special_ids)}
            for role, content in messages
        ]
        try:
            return self._template.render(
                messages=protected,
                add_generation_prompt=opened,
                tools=None,
                documents=None,
                span_start=marks.span_start,
                span_stop=marks.span_stop,
                **self._tokenizer.special_tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise TemplateError(f"{self._name} refuses the conversation: {error}") from error


class _Marks:
    """Three characters that occur neither in the template nor in the conversation."""

    def __init__(self, source: str, messages: Sequence[Message]) -> None:
        used = set(source).union(*(content for _, content in messages))
        free = (c for c in map(chr, range(0xE000, 0xF8FF)) if c not in used)
        self._literal, self.span_start, self.span_stop = next(free), next(free), next(free)

    def protect(self, content: str, specials: Mapping[str, int]) -> str:
        """The content with a mark inside each special token that it spells."""
        for token in specials:
            if len(token) > 1 and token in content:
                content = content.replace(token, token[0] + self._literal + token[1:])
        return content

    def without(self, text: str) -> str:
        return text.replace(self._literal, "")

    def without_spans(self, text: str) -> str:
        return text.replace(self.span_start, "").replace(self.span_stop, "")

    def marked_runs(self, text: str) -> list[Run]:
        runs = []
        for index, part in enumerate(text.split(self.span_start)):
            predicted, _, rest = part.partition(self.span_stop) if index else ("", "", part)
            runs += [Run(predicted, True), Run(rest, False)]
        return [run for run in runs if run.text]


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`: the assistant's text, between two marks of the rendering's context."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        start, stop = (
            jinja2.nodes.Output([jinja2.nodes.Name(name, "load")], lineno=line)
            for name in ("span_start", "span_stop")
        )
        return [start, *body, stop]


def _find(folder: Path) -> tuple[str, str]:
    """Where the template stands, and its text; a file of its own comes first."""
    file = folder / TEMPLATE_FILE
    if file.is_file():
        return str(file), file.read_text(encoding="utf-8")
    path = folder / TOKENIZER_CONFIG_FILE
    template = read_json_object(path).get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    if not isinstance(template, str):
        raise TemplateError(
            f"{folder} has no chat template: neither {TEMPLATE_FILE} nor chat_template in "
            f"{TOKENIZER_CONFIG_FILE}; conversations have no form in this model"
        )
    return str(path), template


def _to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    # Jinja's own escapes HTML.
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
