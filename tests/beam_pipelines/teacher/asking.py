"""Jobs that ask a teacher, for tests: elements are the prompts themselves."""

import dataclasses
import pickle
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from beam_pipelines import runner
from beam_pipelines.accounting import Drop
from beam_pipelines.teacher import usage
from beam_pipelines.teacher.ask import Ask
from beam_pipelines.teacher.prompt import Answered, Prompt, Sampling
from beam_pipelines.teacher.settings import Teacher


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a job left.

    Attributes:
      kept: prompt to answer.
      dropped: prompt to (reason, detail).
      usage: as `usage.collect` has it.
    """

    kept: dict[str, Answered]
    dropped: dict[str, tuple[str, str]]
    usage: dict[str, Any]

    @property
    def texts(self) -> dict[str, str]:
        return {prompt: answered.answer.text for prompt, answered in self.kept.items()}


def teacher_at(url: str, folder: Path, **settings: Any) -> Teacher:
    """A teacher that does not wait long."""
    quick = {"timeout_seconds": 20.0, "attempts": 3, "first_wait_seconds": 0.01}
    return Teacher(url, "teacher", **{"cache_dir": str(folder / "cache"), **quick, **settings})


def word(text: str) -> Prompt:
    return Prompt("test/plain", (("user", text),), Sampling(temperature=0.5, max_tokens=20))


def drop(text: str, reason: str, detail: str) -> Drop:
    return Drop(text, "", "", "", reason, detail=detail)


def ask(
    teacher: Teacher,
    prompts: Sequence[str],
    flags: Sequence[str] = (),
    folder: Path | None = None,
    **options: Any,
) -> Asked:
    """Runs a job that asks every prompt; its records go below `folder`, or beside the cache."""
    made: list[Any] = []
    folder = folder or Path(teacher.cache_dir).parent
    out = folder / f"out-{len(list(folder.glob('out-*')))}"
    out.mkdir(parents=True)
    with runner.pipeline(flags) as pipeline:
        split = pipeline | beam.Create(list(prompts)) | Ask(teacher, word, drop, "test", **options)
        _ = (split.kept, split.dropped) | beam.Flatten() | beam.Map(_write, out)
    for path in out.iterdir():
        made.append(_read(path))
    kept = {a.element: a for a in made if isinstance(a, Answered)}
    dropped = {d.id: (d.reason, d.detail) for d in made if isinstance(d, Drop)}
    assert len(kept) + len(dropped) == len(made) == len(prompts)
    return Asked(kept, dropped, usage.collect(pipeline.result, teacher))


def _write(value: Any, folder: Path) -> None:
    (folder / uuid.uuid4().hex).write_bytes(pickle.dumps(value))


def _read(path: Path) -> Any:
    return pickle.loads(path.read_bytes())
