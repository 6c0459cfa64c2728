"""What a code benchmark has to say, so that one harness runs them all.

A benchmark is a frozen dataclass that gin binds: where its problems come from, how a model is
asked (`question`), how an answer becomes a program (`program`), and the limits of that program.
Everything else (generating, keeping, resuming, judging, scoring) is the harness's. A problem
keeps its published record, so each benchmark reads the keys of its own layout.
Next: `benchmarks/` has one module each, `harness` runs them, `answerers` are the models.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.evaluation.data_files import DataFolder
from opencoder_jax.evaluation.extraction import fenced_code
from opencoder_jax.sandbox import Limits

Message = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One problem.

    Attributes:
      task_id: unlike any other of its benchmark.
      record: as it was published.
      language: what is to be written, as the sandbox names it.
      subset: a part that is scored apart too, e.g. `hard`; empty: none.
    """

    task_id: str
    record: Mapping[str, Any]
    language: str = "python"
    subset: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked.

    Attributes:
      text: what it continues; empty where there are messages.
      messages: (role, content) of each turn of a chat, the last one the user's.
      suffix: text that comes after what is to be filled in; None: there is no gap to fill.
      stop: texts that end the answer, which are not part of it.
      seed: of its random draws.
    """

    text: str = ""
    messages: tuple[Message, ...] = ()
    suffix: str | None = None
    stop: tuple[str, ...] = ()
    seed: int = 0

    @property
    def shown(self) -> str:
        """For people: the text, or the contents of the messages."""
        return self.text or "\n\n".join(content for _, content in self.messages)


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One run of a program.

    Attributes:
      stdin: what it reads.
      expected: on stdout, compared line by line; None: it has to run to its end.
    """

    stdin: str
    expected: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """A program whose verdict is the answer's.

    Attributes:
      source: all of it.
      language: as the sandbox names it.
      files: relative path to text of files beside it.
      cases: it has to pass all of them; none: it has to run to its end.
      exit_passes: Python that leaves through `exit(0)` has run to its end.
      forbidden: a pattern that its output must not have.
      unrunnable: why it cannot be run here at all; empty: it can.
      shown: for people, where `source` is the same for all answers.
    """

    source: str
    language: str = "python"
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    exit_passes: bool = False
    forbidden: str = ""
    unrunnable: str = ""
    shown: str = ""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A code benchmark; subclasses say what is their own.

    Attributes:
      name: its folder below `evaluation/`, and what `--tasks` calls it.
      instruction: what the user of a chat model says; `{prompt}` in it becomes the problem's.
      stop: texts that end what a base model writes.
      chat_stop: texts that end what a chat model writes.
      max_new_tokens: of an answer.
      limits: for each program.
      path: the file or folder of its data; None: looked for in the data folder.
    """

    name: str
    instruction: str
    stop: Sequence[str]
    chat_stop: Sequence[str]
    max_new_tokens: int
    limits: Limits
    path: str | None = None

    # Modules that are imported once for all programs, where they are there.
    preload: ClassVar[tuple[str, ...]] = ()
    # Ways of asking that it has.
    styles: ClassVar[tuple[str, ...]] = ("base", "chat")

    def __post_init__(self) -> None:
        require_at_least(1, max_new_tokens=self.max_new_tokens)
        if "chat" in self.styles and "{prompt}" not in self.instruction:
            raise InputError(f"{self.name}: instruction lacks {{prompt}}, where the problem goes")

    def problems(self, data: DataFolder) -> list[Problem]:
        """All problems in order.

        Raises:
          InputError: the data are not there, or not in their published layout.
        """
        raise NotImplementedError

    def prompt(self, problem: Problem) -> str:
        """What a base model continues, and what stands in the instruction of a chat model."""
        return problem.record["prompt"]

    def question(self, problem: Problem, chat: bool) -> Question:
        """What the model is asked."""
        prompt = self.prompt(problem)
        if chat:
            text = self.instruction.replace("{prompt}", prompt)
            text = text.replace("{language}", problem.language)
            return Question(messages=(("user", text),), stop=tuple(self.chat_stop))
        return Question(text=prompt, stop=tuple(self.stop))

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        """The program that judges an answer."""
        raise NotImplementedError

    def needs(self, problem: Problem) -> tuple[str, ...]:
        """Modules that a problem is about, beyond the standard library."""
        return ()

    def lacking(self, problem: Problem) -> str:
        """What else a problem needs and this machine has not, as `no x`; empty: nothing."""
        return ""

    def reference(self, problem: Problem) -> str | None:
        """An answer of a base model that is right, where the benchmark has one."""
        return problem.record.get("canonical_solution")

    def searched_text(self, problem: Problem) -> str:
        """What of a problem must not have been trained on: prompt, solution and tests."""
        record = problem.record
        parts = [self.prompt(problem), self.reference(problem) or "", record.get("test", "")]
        return "\n".join(parts)

    def entry_points(self, problem: Problem) -> tuple[str, ...]:
        """Names of the functions that a problem asks for, where its answer has one of its own."""
        name = problem.record.get("entry_point")
        return (name,) if name else ()

    def kept_out_as(self) -> str:
        """Another benchmark that has all of its problems; empty: none."""
        return ""

    def settings(self) -> dict[str, Any]:
        """What a result depends on, as JSON; where the data lie does not matter."""
        fields = (f.name for f in dataclasses.fields(self) if f.name != "path")
        return {name: getattr(self, name) for name in fields}


def chat_code(answer: str, language: str, wanted: str = "") -> str:
    """The code of a chat answer in any language: its block that has `wanted`, or the first."""
    # A shell takes a carriage return for a part of the last word.
    return fenced_code(answer.replace("\r\n", "\n"), wanted, language)
