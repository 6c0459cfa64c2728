"""Words tasks and answers around a function: what it asks, what it answers.

A task is a kind of question whose answer is in the code already: `write` a function from
its description, `explain` one, `complete` one; with examples that were executed also
`solve` and `test`. Which task and which wording a function gets is a hash of its id
(paper §4.1, Fig. 5a: prompts built from templates by task type). Wordings are data,
`templates.json`; a conversation's provenance names the one that made it.
"""

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path

from beam_pipelines.synthesis.source_module import Definition, parse_examples
from opencoder_jax.formats.split import hash_fraction

TEMPLATES: Mapping[str, Mapping[str, str]] = json.loads(
    Path(__file__).with_name("templates.json").read_text()
)
# Headings that announce examples and are left over when those are cut off.
_HEADING = re.compile(
    r"(?:\n|^)[ \t]*(?:(?:doc)?tests?|examples?|usage|for example|e\.g\.)[ \t]*[:.,]*[ \t]*"
    r"(?:\n[ \t]*[-=~^]{3,}[ \t]*)?\s*$",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Function:
    """A definition in the parts that tasks are made of.

    Attributes:
      kind: `function` or `class`.
      name: its name.
      signature: its lines up to the body.
      description: its docstring up to the first example.
      examples: its doctest examples, as in an interactive session; may be empty.
      code: the definition without its docstring.
    """

    kind: str
    name: str
    signature: str
    description: str
    examples: str
    code: str


def dissect(source: str) -> Function | None:
    """The parts of a definition; None where nothing but a docstring is in its body.

    Args:
      source: the lines of one function or class with a docstring.
    """
    definition = _only_definition(source)
    docstring = ast.get_docstring(definition, clean=False)
    if docstring is None or len(definition.body) < 2:
        return None
    lines = source.split("\n")
    literal = definition.body[0]
    assert literal.end_lineno is not None
    alone = not lines[literal.lineno - 1][: literal.col_offset].strip()
    if not alone or definition.body[1].lineno == literal.end_lineno:
        return None
    head, body = lines[: literal.lineno - 1], lines[literal.end_lineno :]
    while body and not body[0].strip():
        del body[0]
    return Function(
        kind="class" if isinstance(definition, ast.ClassDef) else "function",
        name=definition.name,
        signature="\n".join(head).rstrip(),
        description=_description(docstring),
        examples=_examples(docstring),
        code="\n".join([*head, *body]).rstrip(),
    )


def word(task: str, function: Function, key: str) -> tuple[str, str, str]:
    """The question and answer of a task.

    Args:
      task: a key of `TEMPLATES`.
      function: what it is about.
      key: id that chooses the wording.

    Returns:
      (template id, user's content, assistant's content).
    """
    wordings = sorted(TEMPLATES[task].items())
    name, template = wordings[int(hash_fraction("wording", key) * len(wordings))]
    lines = function.code.split("\n")
    values = {
        **dataclasses.asdict(function),
        "beginning": "\n".join(lines[: (len(lines) + 1) // 2]),
    }
    # One pass: a placeholder inside the code is code.
    question = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)
    answers = {
        "explain": function.description,
        "test": f"```pycon\n{function.examples}\n```",
    }
    return name, question, answers.get(task, f"```python\n{function.code}\n```")


def choose(tasks: tuple[str, ...], key: str) -> str:
    """One of `tasks`, by a hash of `key`."""
    return tasks[int(hash_fraction("task", key) * len(tasks))]


def _only_definition(source: str) -> Definition:
    definition = ast.parse(source).body[-1]
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return definition


def _description(docstring: str) -> str:
    text = inspect.cleandoc(docstring.partition(">>> ")[0])
    return _HEADING.sub("", text).strip()


def _examples(docstring: str) -> str:
    shown = []
    for example in parse_examples(docstring):
        first, *rest = example.source.rstrip("\n").split("\n")
        shown += [f">>> {first}", *(f"... {line}".rstrip() for line in rest)]
        shown += example.want.rstrip("\n").split("\n") if example.want else []
    return "\n".join(shown)
