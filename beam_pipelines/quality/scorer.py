"""A scorer of code files: a fastText classifier for each language, whose mean class is the score.

Classes are the teacher's scores, rounded; the score of a file is the expected class, so that it
is a number between them. Words and pairs of words are what it sees, and how long the file and
its lines are. Trained on one thread from one order of examples, so the same scores give the
same files. Languages with too few examples share one model.
Next: `agreement` for whether it can be trusted, `select` for its use.
"""

import dataclasses
import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from beam_pipelines.recall.classifier import fasttext_library
from opencoder_jax.errors import InputError, require_at_least, require_positive

# Of all languages without a model of their own.
OTHERS = "others"
SCORER_NAME = "scorer.json"
_LABEL = "__label__"
_TOKEN = re.compile(r"[^\W\d]\w*|\d+|[^\s\w]")
_UNSAFE = re.compile(r"[^a-z0-9+#-]+")


@dataclasses.dataclass(frozen=True)
class ScorerSettings:
    """How files are read and models trained.

    Attributes:
      characters: of a file that are read, from its beginning.
      word_ngrams: words in a row that are features.
      dimension: of a feature's vector.
      buckets: that n-grams are hashed into.
      epochs: times that every example is seen.
      learning_rate: fastText's `lr`.
      min_examples: of a language, for a model of its own.
    """

    characters: int
    word_ngrams: int
    dimension: int
    buckets: int
    epochs: int
    learning_rate: float
    min_examples: int

    def __post_init__(self) -> None:
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k != "learning_rate"}
        require_at_least(1, **fields)
        require_positive(learning_rate=self.learning_rate)


class Scored(NamedTuple):
    """A file and what the teacher says of it."""

    id: str
    repo: str
    language: str
    text: str
    score: float


def features(text: str, characters: int) -> str:
    """What a model reads: one line of words."""
    text = text[:characters]
    words = _TOKEN.findall(text)
    lines = text.splitlines() or [""]
    shape = (
        f"<lines_{len(lines).bit_length()}>",
        f"<width_{(len(text) // len(lines)).bit_length()}>",
        f"<longest_{max(map(len, lines)).bit_length()}>",
        f"<indented_{10 * sum(line[:1].isspace() for line in lines) // len(lines)}>",
    )
    line = " ".join((*shape, *words)).replace(_LABEL, "label").replace("\0", " ")
    # Half of a surrogate pair is no text for the library.
    return line if line.isascii() else line.encode("utf-8", "replace").decode("utf-8")


def train_scorer(examples: Sequence[Scored], settings: ScorerSettings, folder: Path) -> None:
    """Trains all models and writes them with `scorer.json`.

    Args:
      examples: of any languages.
      settings: of the models.
      folder: of the files.

    Raises:
      InputError: all examples have one and the same score.
    """
    library = fasttext_library()
    examples = sorted(examples, key=lambda example: example.id)
    by_language: dict[str, list[Scored]] = {}
    for example in examples:
        by_language.setdefault(example.language, []).append(example)
    models = {OTHERS: examples}
    for language, own in sorted(by_language.items()):
        if len(own) >= settings.min_examples and len({round(e.score) for e in own}) > 1:
            models[language] = own
    if len({round(example.score) for example in examples}) < 2:
        raise InputError(
            f"{len(examples)} scored files, and no two scores that differ: nothing to learn from"
        )
    files = {}
    for number, (language, own) in enumerate(models.items()):
        name = f"{number:03d}-{_UNSAFE.sub('_', language.lower())}.bin"
        _train(library, own, settings, folder / name)
        files[language] = name
    known = {"settings": dataclasses.asdict(settings), "models": files}
    (folder / SCORER_NAME).write_text(json.dumps(known, indent=1) + "\n")


class Scorer:
    """Trained models. Not picklable: a worker loads its own."""

    def __init__(self, models: Mapping[str, Any], settings: ScorerSettings) -> None:
        self._models = models
        self._settings = settings

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `train_scorer` wrote.

        Raises:
          InputError: it is no such folder.
        """
        path = folder / SCORER_NAME
        library = fasttext_library()
        try:
            known = json.loads(path.read_text())
            settings = ScorerSettings(**known["settings"])
            models = {
                language: library.load_model(str(folder / name))
                for language, name in known["models"].items()
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: no scorer of files ({error})") from error
        return cls(models, settings)

    def score(self, text: str, language: str) -> float:
        """The expected score of a file."""
        model = self._models.get(language) or self._models[OTHERS]
        labels, chances = model.predict(features(text, self._settings.characters), k=-1)
        total = float(sum(chances))
        values = (float(label.removeprefix(_LABEL)) for label in labels)
        return sum(v * float(c) for v, c in zip(values, chances, strict=True)) / total

    @property
    def languages(self) -> tuple[str, ...]:
        """With a model of their own."""
        return tuple(language for language in self._models if language != OTHERS)


def _train(library: Any, examples: Iterable[Scored], settings: ScorerSettings, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="scorer-") as folder:
        text = Path(folder) / "examples.txt"
        with text.open("w", encoding="utf-8", errors="replace") as file:
            for example in examples:
                line = features(example.text, settings.characters)
                file.write(f"{_LABEL}{round(example.score)} {line}\n")
        model = library.train_supervised(
            str(text),
            dim=settings.dimension,
            epoch=settings.epochs,
            lr=settings.learning_rate,
            wordNgrams=settings.word_ngrams,
            bucket=settings.buckets,
            minCount=2,
            minn=0,
            maxn=0,
            thread=1,
            seed=0,
            verbose=0,
        )
    model.save_model(str(path))
