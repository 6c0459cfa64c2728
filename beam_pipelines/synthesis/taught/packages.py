"""Package instructions: questions about libraries as they are today (paper §4.1, Fig. 5c).

Code models know old signatures. Names, signatures and documentation come from the installed
packages; where a corpus is given its files say which of them people use, and how. The teacher
writes a question and an answer, which is executed with these packages and has to use what it
was asked about; an answer without code has to name only what there is.
"""

import ast
import dataclasses
import functools
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import Split
from beam_pipelines.synthesis.answers import AnswerError, sections
from beam_pipelines.synthesis.apis import Api, IntrospectionError, introspect
from beam_pipelines.synthesis.drafts import Draft, Step, Write
from beam_pipelines.synthesis.inputs import DocumentFolder
from beam_pipelines.synthesis.proving import ProveByRunning
from beam_pipelines.synthesis.seeds import SeedSettings, excerpt
from beam_pipelines.synthesis.taught.taught_set import Made, Making, TaughtSet, always
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.evaluation.extraction import fenced_blocks
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.document import Document, document_id
from opencoder_jax.formats.manifest import fingerprint
from opencoder_jax.formats.split import hash_fraction

_DROPPED = "dropped"
_PASSED_OVER = "passed over"
_PYTHON = ("python", "py", "python3", "")


@dataclasses.dataclass(frozen=True)
class InstalledApis:
    """The public functions and classes of packages, and a corpus that uses them.

    Attributes:
      packages: as they are imported; several in a text are separated by commas.
      python: the interpreter that has them; None: this one. Answers are executed by this one,
        so it has to be of the same version.
      corpus: finished folder with documents that show how they are used; None: none.
    """

    packages: str | Sequence[str]
    python: str | None = None
    corpus: str | None = None

    @functools.cached_property
    def apis(self) -> dict[str, Api]:
        """By name.

        Raises:
          InputError: a package cannot be looked into.
        """
        packages = self.packages
        if isinstance(packages, str):
            packages = [name.strip() for name in packages.split(",") if name.strip()]
        if not packages:
            raise InputError("packages is empty: name what instructions shall be about")
        try:
            found = [
                a for name in packages for a in introspect(name, self.python or sys.executable)
            ]
        except IntrospectionError as error:
            raise InputError(f"installed packages: {error}") from error
        return {api.name: api for api in found}

    def fingerprint(self) -> str:
        own = fingerprint([dataclasses.asdict(api) for api in self.apis.values()])
        return own if self.corpus is None else f"{own}-{DocumentFolder(self.corpus).fingerprint()}"

    def count(self) -> int | None:
        return len(self.apis) if self.corpus is None else DocumentFolder(self.corpus).count()

    def read(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Apis, or documents of the corpus."""
        if self.corpus is None:
            return pipeline | "Apis" >> beam.Create(list(self.apis.values()))
        return DocumentFolder(self.corpus).read(pipeline)


@dataclasses.dataclass(frozen=True)
class Packages(TaughtSet):
    """The set.

    Attributes:
      source: the packages, and a corpus that uses them.
      seeds: of a corpus' files; without one `count` and `seed` choose among all names.
      apis_a_seed: names of a file that a question is given, most.
      site_packages: the folder that answers may import from; None: this environment's.
      without_program: whether an answer may have none; the names that it mentions are looked up.
    """

    source: InstalledApis
    seeds: SeedSettings
    apis_a_seed: int
    site_packages: str | None = None
    without_program: bool = False

    name: ClassVar[str] = "packages"
    templates: ClassVar[tuple[str, ...]] = ("packages/question",)
    executes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_at_least(1, apis_a_seed=self.apis_a_seed)

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        found = elements | "FindApis" >> beam.ParDo(
            _FindApis(self.source.apis, self.seeds, self.apis_a_seed)
        ).with_outputs(_PASSED_OVER, main="seeds")
        passed_over = found[_PASSED_OVER] | "Reasons" >> beam.combiners.Count.PerElement()
        step = Step("written", always(self.templates[0]), _values, _parse, self.sampling)
        written = found.seeds | "Write" >> Write(step, self.teacher)
        checked = written.kept | "UsesApi" >> beam.ParDo(
            _UsesApi(self.without_program)
        ).with_outputs(_DROPPED, main="kept")
        packages = self.site_packages or sysconfig.get_path("purelib")
        proved: Split = checked.kept | "Run" >> ProveByRunning(
            making.sandbox_workers, making.allow_unisolated, packages
        )
        dropped = {
            "written": written.dropped,
            "uses the package": checked[_DROPPED],
            "executed": proved.dropped,
        }
        return Made(found.seeds, proved.kept, dropped, passed_over)

    def record(self, draft: Draft) -> Conversation:
        return Conversation(
            id=draft.id,
            messages=(("user", draft.parts["task"]), ("assistant", draft.parts["solution"])),
            language="python",
            repo=draft.repo,
            provenance=self.templates[0],
            details=draft.details("code", "apis", "versions"),
        )


class _FindApis(beam.DoFn):
    """Api or Document to a Draft, or why it gives none."""

    def __init__(self, apis: Mapping[str, Api], seeds: SeedSettings, apis_a_seed: int) -> None:
        super().__init__()
        self._apis = dict(apis)
        self._seeds = seeds
        self._apis_a_seed = apis_a_seed
        limit = None if seeds.count is None else seeds.count / max(1, len(self._apis))
        self._limit = _nth(self._apis, seeds) if limit is not None and limit < 1 else None

    def process(self, element: Api | Document) -> Iterator[Any]:
        if isinstance(element, Api):
            place = _place(element.name, self._seeds.seed)
            if self._limit is not None and place > self._limit:
                yield TaggedOutput(_PASSED_OVER, "not_sampled")
            else:
                yield self._draft(
                    f"{element.package}-{element.version}", element.name, "", [element]
                )
            return
        if element.language != "python":
            yield TaggedOutput(_PASSED_OVER, "language")
            return
        used = [self._apis[name] for name in dotted_names(element.text) if name in self._apis]
        if not used:
            yield TaggedOutput(_PASSED_OVER, "uses_no_package")
            return
        used.sort(key=lambda api: hash_fraction(f"api-{api.name}", element.id))
        seed = excerpt(element.text, self._seeds, element.id)
        yield self._draft(element.repo, element.path, seed, used[: self._apis_a_seed])

    def _draft(self, repo: str, path: str, seed: str, apis: Sequence[Api]) -> Draft:
        return Draft(
            id=document_id("packages", repo, path),
            repo=repo,
            path=path,
            language="python",
            parts={
                "seed": seed,
                "apis": " ".join(api.name for api in apis),
                "versions": " ".join(sorted({f"{a.package}=={a.version}" for a in apis})),
                "documentation": "\n\n".join(
                    f"{api.name}{api.signature}\n\n{api.documentation}" for api in apis
                ),
            },
        )


def _nth(apis: Mapping[str, Api], seeds: SeedSettings) -> float:
    places = sorted(_place(name, seeds.seed) for name in apis)
    return places[(seeds.count or 1) - 1]


def _place(name: str, seed: int) -> float:
    return hash_fraction(f"seed-{seed}", name)


def _values(draft: Draft) -> dict[str, str]:
    seed = draft.parts["seed"]
    return {
        "apis": ", ".join(f"`{name}`" for name in draft.parts["apis"].split()),
        "versions": draft.parts["versions"].replace(" ", ", "),
        "documentation": draft.parts["documentation"],
        "usage": f"\nThis is how people use it:\n\n```python\n{seed}\n```\n" if seed else "",
    }


def _parse(draft: Draft, answer: str) -> Draft:
    given = sections(answer, ("Question", "Answer"))
    blocks = [code for tag, code in fenced_blocks(given["Answer"]) if tag in _PYTHON]
    code = "\n".join(blocks)
    if re.search(r"^\s*(>>>|%|!)", code, re.MULTILINE):
        raise AnswerError("not_parsable", "an interactive session, expected a program")
    return draft.with_parts(task=given["Question"], solution=given["Answer"], code=code)


class _UsesApi(beam.DoFn):
    """Keeps answers that use what they were asked about."""

    def __init__(self, without_program: bool) -> None:
        super().__init__()
        self._without_program = without_program

    def process(self, draft: Draft) -> Iterator[Any]:
        wanted = set(draft.parts["apis"].split())
        code = draft.parts["code"]
        if not code and not self._without_program:
            yield TaggedOutput(_DROPPED, draft.drop("answer_without_code"))
            return
        if not code:
            # It is imported instead: every name that the answer mentions.
            packages = {name.split(".")[0] for name in wanted}
            named = set(re.findall(r"(?<![\w.])(?:\w+\.)+\w+", draft.parts["solution"]))
            named = {n for n in named if n.split(".")[0] in packages}
            if not named & wanted:
                yield TaggedOutput(_DROPPED, draft.drop("does_not_use_package", "no code"))
                return
            yield draft.with_parts(code=_importing(sorted(named)))
            return
        try:
            used = set(dotted_names(code))
        except ValueError as error:
            yield TaggedOutput(_DROPPED, draft.drop("not_parsable", str(error)))
            return
        if any(u == name or u.startswith(f"{name}.") for u in used for name in wanted):
            yield draft
        else:
            detail = f"uses {', '.join(sorted(used)[:20]) or 'nothing'}"
            yield TaggedOutput(_DROPPED, draft.drop("does_not_use_package", detail))


def _importing(names: Sequence[str]) -> str:
    """A program that fails where one of the names does not exist."""
    return f"import pkgutil\nfor name in {list(names)!r}:\n    pkgutil.resolve_name(name)\n"


def dotted_names(source: str) -> list[str]:
    """Full names of what a Python source uses, imports resolved, each once, in order.

    Raises:
      ValueError: it does not parse.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        name = _dotted(node)
        if name and (root := name.split(".")[0]) in bound:
            found[bound[root] + name[len(root) :]] = None
    return list(found)


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""
