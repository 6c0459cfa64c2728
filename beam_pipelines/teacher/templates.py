"""Wordings of prompts: files of the project, each with an id.

`beam_pipelines/synthesis/prompts/<set>/<name>.md` has the id `<set>/<name>`. A line `## system`,
`## user` or `## assistant` begins a message; what stands before the first is for people who read
the file. `{name}` is a placeholder, `{{name}}` the text `{name}`; any other brace is itself, so
that code and JSON can be written as they are.
"""

import dataclasses
import functools
import hashlib
import re
from pathlib import Path

from beam_pipelines.teacher.prompt import Messages
from opencoder_jax.errors import InputError

FOLDER = Path(__file__).parent.parent / "synthesis" / "prompts"
_ROLES = ("system", "user", "assistant")
_HEADING = re.compile(rf"^##[ \t]+({'|'.join(_ROLES)})[ \t]*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)*")


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """The wording of a prompt.

    Attributes:
      id: e.g. `educational/task-1`.
      text: of its file.
      sha256: of its file; part of what a job's output depends on.
    """

    id: str
    text: str
    sha256: str

    @property
    def placeholders(self) -> frozenset[str]:
        """Names that `fill` needs."""
        messages = _messages(self)
        found = (match[2] for _, text in messages for match in _PLACEHOLDER.finditer(text))
        return frozenset(filter(None, found))

    def fill(self, **values: str) -> Messages:
        """The messages; what a value holds is text, braces and headings in it too.

        Raises:
          InputError: a placeholder without a value, or a value without a placeholder.
        """
        wanted = self.placeholders
        if wanted != values.keys():
            missing, unknown = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
            problems = [f"no value for {', '.join(missing)}"] if missing else []
            problems += [f"no placeholder for {', '.join(unknown)}"] if unknown else []
            raise InputError(f"template {self.id}: {'; '.join(problems)}")
        return tuple(
            (role, _PLACEHOLDER.sub(lambda m: f"{{{m[1]}}}" if m[1] else values[m[2]], text))
            for role, text in _messages(self)
        )


@functools.cache
def load_template(id: str, folder: Path = FOLDER) -> Template:
    """A template by its id.

    Args:
      id: `<set>/<name>`.
      folder: where the sets are.

    Raises:
      InputError: there is no such file, or it is no template.
    """
    if not _ID.fullmatch(id) or ".." in id:
        raise InputError(f"template {id!r}: expected an id like set/name")
    path = folder / f"{id}.md"
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
    except FileNotFoundError as error:
        known = sorted(p.relative_to(folder).with_suffix("").as_posix() for p in _files(folder))
        raise InputError(f"no template {id}: {path} is missing; there are {known}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"template {path}: cannot be read: {error}") from error
    template = Template(id, text, hashlib.sha256(content).hexdigest())
    messages = _messages(template)
    if not messages:
        raise InputError(f"template {path}: no line '## user' begins a message")
    for role, content_text in messages:
        if not content_text:
            raise InputError(f"template {path}: the message of {role} is empty")
    if messages[-1][0] != "user":
        raise InputError(f"template {path}: its last message is of {messages[-1][0]}, not of user")
    return template


def seed_of(base_seed: int, key: str, template: str) -> int:
    """A seed of 31 bits for a call: another for each element, template and base seed."""
    text = f"{base_seed}\0{key}\0{template}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") >> 1


def _messages(template: Template) -> Messages:
    """(role, text with placeholders) pairs."""
    parts = _HEADING.split(template.text.replace("\r\n", "\n"))[1:]
    return tuple(
        (role, text.strip("\n").rstrip())
        for role, text in zip(parts[::2], parts[1::2], strict=True)
    )


def _files(folder: Path) -> list[Path]:
    return list(folder.glob("*/**/*.md"))
