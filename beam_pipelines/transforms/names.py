"""Finds names of persons where a text says that it names one.

A capitalised word alone is an identifier, a product or a place more often than a person,
so names are looked for in two places only: beside an e-mail address
(`Jane Roe <jane@...>`), and behind a word that introduces an author (`@author`, `author =`,
`Maintainer:`, `Signed-off-by:`, `Copyright 2010`). What stands there must have the shape of
a name: two to four capitalised words of letters (particles and initials allowed), or two
to four Han, kana or Hangul characters; and none of the words of organisations and
placeholders. Time is linear: each introducing word is found by a literal.
"""

import re
from collections.abc import Iterable, Iterator

from beam_pipelines.signals.literals import Literals
from beam_pipelines.transforms.spans import NAME, Span

_PARTICLE = r"(?:van|von|der|den|de|da|di|del|della|la|le|dos|du|bin|ibn|al|el|ter|zu|y)"
# A capital is a letter that is no lower-case one; `str.istitle` decides that below.
_WORD = r"[^\W\d_](?:[^\W\d_]|['’\-](?=[^\W\d_])){1,30}"
_INITIAL = r"[^\W\d_]\."
_CJK = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
_NAME = re.compile(
    rf"(?:{_WORD}|{_INITIAL})"
    # The particle of a list ends a name; other small words are cut off later.
    rf"(?:(?:[ \t]{{1,2}}|(?<=\.))(?!(?:and|und|et|or|with|for|from)\b)"
    rf"(?:{_PARTICLE}(?=[ \t])|{_WORD}|{_INITIAL})){{1,4}}"
    rf"|{_CJK}{{2,5}}(?!{_CJK})"
)
_BACKWARDS = re.compile(
    rf"({_NAME.pattern})[\"']?[ \t]{{0,4}},?[ \t]{{0,2}}[<(\[{{\"']*(?:mailto:)?$"
)
_AFTER_EMAIL = re.compile(
    rf"[>\"']?[ \t]{{1,2}}\((?P<in>{_NAME.pattern})\)|[\"']>(?P<link>{_NAME.pattern})</a>"
)
_LONGEST_BEFORE_EMAIL = 80

# (literal that is in every match, pattern up to the first name)
_SEPARATOR = r"[\"'}\])]{0,2}[ \t]{0,16}(?:=>|==?|[:>]|\()?[ \t]{0,16}[\"'\[({]{0,3}[ \t]{0,2}"
_INTRODUCED = tuple(
    (literal, re.compile(pattern + _SEPARATOR))
    for literal, pattern in (
        ("uthor", r"uthor(?:s|\(s\)|ed by)?(?:__)?"),
        ("AUTHOR", r"AUTHORS?"),
        ("aintain", r"aintain(?:er|ers|ed by)(?:__)?"),
        ("MAINTAINER", r"MAINTAINERS?"),
        ("ritten by", r"ritten by"),
        ("reated by", r"reated by"),
        ("eveloped by", r"eveloped by"),
        ("ontributed by", r"ontributed by"),
        ("-by:", r"-by:"),
        (
            "opyright",
            r"opyright(?:[ \t:]|\([cC]\)|©|(?:19|20)\d\d[ \t]?[-–,][ \t]?|(?:19|20)\d\d|by\b)*",
        ),
        ("@since", r"@since[ \t]+[\d.]+[ \t]+by"),
    )
)
_LITERALS = Literals([literal for literal, _ in _INTRODUCED])
_TAGS_OF_BY = re.compile(
    r"(?:signed-off|co-authored|reviewed|acked|tested|reported|suggested|cc|inspected|helped|mentored)$",
    re.IGNORECASE,
)
_NEXT_NAME = re.compile(
    r"[\"']?(?:[ \t]*<[^<>\n]{0,80}>)?"
    r"(?:[ \t]*,[ \t]*(?:and |& )?|[ \t]+(?:and|&|und|et)[ \t]+)[\"']?"
)
_MOST_NAMES = 40
# A field's value goes on as code: `author = User.objects`, `author = make_author(x)`.
_NO_NAME_AFTER = re.compile(r"[ \t]*(?:\(|\[|\.\w|::|->|=)|\w")

_NOT_A_PERSON = re.compile(
    r"""(?ix)\b(?:the|inc|ltd|llc|gmbh|corp|corporation|company|co|limited|foundation|team|project|projects
    |contributors?|authors?|developers?|maintainers?|university|institute?|institut|college|school|labs?
    |laborator(?:y|ies)|systems?|software|technolog(?:y|ies)|group|committee|consortium|association|society
    |research|cent(?:er|re)|department|community|communications?|networks?|international|solutions?|services?
    |enterprises?|studios?|holdings?|partners|foundation|federation|organi[sz]ation|ag|kg|sa|bv|plc|pty|oy|ab
    |google|microsoft|apple|intel|ibm|amazon|facebook|meta|oracle|mozilla|red|hat|linux|gnu|apache|unix
    |free|open|source|your|my|our|name|names|first|last|full|email|e-mail|user|users|file|files|list|lists
    |this|that|these|all|rights|reserved|license|licence|licensed|public|private|see|note|notes|notice|if|is|of|in
    |and|or|for|with|from|to|by|on|as|at|no|not|none|true|false|string|object|model|field|class|type|value
    |id|url|code|github|version|date|copyright|header|page|book|books|post|posts|article|comment|comments
    |admin|administrator|root|system|support|security|info|service|mailing|development|dev|test|tests|testing
    |unknown|anonymous|various|several|others|someone|nobody|everyone|bot|build|release|core|data|world|wide|web
    |he|she|they|it|we|you|can|may|has|have|was|were|will|should|must|are|do|does|when|which|who|whose|where
    |new|create|created|update|updated|delete|add|added|get|set|modified|changed|default|documentation
    |python|java|javascript|perl|ruby|php|swift|rust|docker|ubuntu|debian|fedora|android|windows|mac|os|bsd)\b"""
)
_LONGEST_CAPITALS = 3


def find_names(text: str, encoded: bytes, emails: Iterable[tuple[int, int]]) -> Iterator[Span]:
    """Names of persons in `text`, in no order; they may be found twice.

    Args:
      text: of a document.
      encoded: the same in UTF-8.
      emails: (start, end) of the e-mail addresses in it.
    """
    for start, end in emails:
        window = max(0, start - _LONGEST_BEFORE_EMAIL)
        line = max(window, text.rfind("\n", window, start) + 1)
        if (match := _BACKWARDS.search(text[line:start])) and (name := _person(match[1])):
            yield Span(line + match.start(1) + name[0], line + match.start(1) + name[1], NAME)
        elif match := _AFTER_EMAIL.match(text, end):
            group = match.lastgroup or 0
            if _person(match[group]):
                yield Span(match.start(group), match.end(group), NAME)
    present = _LITERALS.present(encoded)
    for literal, pattern in _INTRODUCED:
        position = text.find(literal) if literal in present else -1
        while position != -1:
            introduction = pattern.match(text, position)
            end = position + len(literal)
            if introduction and _introduces(text, position, literal):
                end = max(end, introduction.end())
                for span in _names_from(text, introduction.end()):
                    yield span
                    end = span.end
            position = text.find(literal, end)


def _introduces(text: str, position: int, literal: str) -> bool:
    """Whether what stands before the literal makes it a whole word (or a trailer's tag)."""
    if literal == "-by:":
        return bool(_TAGS_OF_BY.search(text, max(0, position - 12), position))
    if literal[0] in "@AM":
        return position == 0 or not text[position - 1].isalnum()
    first = text[position - 1 : position]
    before = text[position - 2 : position - 1] if position > 1 else ""
    return first.isalpha() and not before.isalnum()


def _names_from(text: str, position: int) -> Iterator[Span]:
    """The names of a list that begins at `position`, as long as they have the shape of one."""
    for _ in range(_MOST_NAMES):
        match = _NAME.match(text, position)
        if not match:
            return
        person = _person(match[0], from_start=True)
        if not person or (person[1] == len(match[0]) and _NO_NAME_AFTER.match(text, match.end())):
            return
        end = match.start() + person[1]
        yield Span(match.start(), end, NAME)
        following = _NEXT_NAME.match(text, end)
        if not following:
            return
        position = following.end()


def _person(candidate: str, from_start: bool = False) -> tuple[int, int] | None:
    """(start, end) of the name in `candidate`; None where it is none.

    Text before an address may begin with other words (`by Jane Roe <`), text behind a tag
    may end with them (`Jane Roe wrote`): lower-case words are cut off on that side.
    """
    if ord(candidate[0]) > 0x2FFF:
        return 0, len(candidate)
    words = [(m.start(), m.end()) for m in re.finditer(r"[^\s.]+\.?|\.", candidate)]
    named = [candidate[s:e][0].isupper() for s, e in words]
    if from_start:
        while words and not named[-1]:
            words.pop(), named.pop()
    else:
        cut = 0
        while cut < len(words) and not named[cut]:
            cut += 1
        words, named = words[cut:], named[cut:]
    # Particles may be small, but a name begins and ends with a capital.
    if not 2 <= len(words) <= 5 or not named[0] or not named[-1] or sum(named) < 2:
        return None
    start, end = words[0][0], words[-1][1]
    name = candidate[start:end]
    parts = [candidate[s:e] for s, e in words]
    whole = [part for part in parts if len(part) > 2 and part[0].isupper()]
    shouted = any(part.isupper() and len(part) > _LONGEST_CAPITALS for part in whole)
    camel = any(
        re.search(r"[a-z][A-Z]", part)
        and not part.startswith(("Mc", "Mac", "De", "Di", "La", "Le", "O'"))
        for part in whole
    )
    if not whole or shouted or camel or _NOT_A_PERSON.search(name):
        return None
    return start, end
