"""Cuts a function or class out of its file, with everything that it needs to run alone.

A definition needs names: its own file's functions, constants and imports, and through
those further names. All of them together, in the order of the file, are a program
without the package around it, provided that only modules of an allowed list are
imported. What cannot be cut out says why (`ExtractionError`), so that the job can count it.
Nothing is executed here; `doctests` does that with what comes out.
"""

import ast
import builtins
import dataclasses
import doctest
import functools
import symtable
import warnings
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
# Methods of date and datetime that read the clock.
_CLOCK = frozenset({"now", "today", "utcnow"})
_PROMPT = ">>> "
_LAZY_ANNOTATIONS = "from __future__ import annotations\n"


class ExtractionError(ValueError):
    """A definition that cannot stand alone; `reason` is one of a small fixed set."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True, slots=True)
class Snippet:
    """A definition that stands alone.

    Attributes:
      name: of the function or class.
      source: the whole program: imports, helpers, the definition.
      definition: the definition alone, with its docstring.
    """

    name: str
    source: str
    definition: str


class SourceModule:
    """One parsed Python file."""

    def __init__(self, text: str, path: str) -> None:
        """Args:
        text: the file.
        path: in its repository; tells imports of the file's own package.

        Raises:
          ExtractionError: `syntax_error`.
        """
        # Line numbers of `ast` count these as ends of lines, `splitlines` more.
        self._lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        try:
            with warnings.catch_warnings():
                # Invalid escapes of strangers' code are no news to our users.
                warnings.simplefilter("ignore")
                self.tree = ast.parse("\n".join(self._lines))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ExtractionError("syntax_error", str(error)) from error
        self._own_names = _own_package_names(path)
        self._bindings = dict(_bindings(self.tree.body))
        self._future = "".join(
            f"{ast.unparse(node)}\n"
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        )

    def definitions(self) -> Iterator[Definition]:
        """Functions and classes of the top level; of several with one name the last."""
        for node in self.tree.body:
            if isinstance(node, (*_FUNCTION, ast.ClassDef)) and (
                self._bindings.get(node.name) is node
            ):
                yield node

    def source_of(self, node: ast.stmt) -> str:
        """The lines of a statement, decorators and comments inside it included."""
        first, last = _line_range(node)
        return "\n".join(self._lines[first:last])

    def extract(
        self, target: Definition, allowed_imports: Collection[str], max_lines: int
    ) -> Snippet:
        """The definition with all that it and its doctests need.

        Args:
          target: one of `definitions()`.
          allowed_imports: top-level modules that a snippet may import.
          max_lines: of the whole snippet.

        Raises:
          ExtractionError: `import_not_allowed`, `unresolved_name`, `reads_the_clock`,
            `malformed_doctest`, `not_separable` or `too_long`.
        """
        own_imports, doctest_names = self._examine_doctests(target, allowed_imports)
        try:
            needed = self._closure(target, doctest_names, self._future, allowed_imports)
            return self._assemble(target, needed, self._future, own_imports, max_lines)
        except ExtractionError as error:
            if self._future or error.reason not in ("import_not_allowed", "unresolved_name"):
                raise
            # Annotations alone may have asked for it; unevaluated they need nothing.
            needed = self._closure(target, doctest_names, _LAZY_ANNOTATIONS, allowed_imports)
            return self._assemble(target, needed, _LAZY_ANNOTATIONS, own_imports, max_lines)

    def _closure(
        self,
        target: Definition,
        doctest_names: list[str],
        future: str,
        allowed_imports: Collection[str],
    ) -> dict[str, ast.stmt]:
        """Name to statement of everything that the definition needs, itself included."""
        needed: dict[str, ast.stmt] = {target.name: target}
        pending = [self.source_of(target), *doctest_names]
        while pending:
            source = pending.pop()
            for name in sorted(_global_names(future + source)):
                if name in needed or (name in _BUILTINS and name not in self._bindings):
                    continue
                if name not in self._bindings:
                    raise ExtractionError("unresolved_name", name)
                node = self._bindings[name]
                needed[name] = node
                if isinstance(node, ast.Import | ast.ImportFrom):
                    _check_import(node, name, allowed_imports)
                else:
                    pending.append(self.source_of(node))
        return needed

    def _examine_doctests(
        self, target: Definition, allowed_imports: Collection[str]
    ) -> tuple[set[int], list[str]]:
        """Lines of imports of the own package, to be cut; sources of all other examples."""
        cut: set[int] = set()
        sources = []
        for owner, docstring in docstrings(target):
            literal = owner.body[0]
            for example in parse_examples(docstring):
                imported = _imported_modules(example.source)
                if imported and imported <= self._own_names and not example.want:
                    first = literal.lineno - 1 + example.lineno
                    lines = range(first, first + example.source.count("\n"))
                    if not self._is_example(lines, example.source):
                        raise ExtractionError("malformed_doctest", "escapes in the docstring")
                    cut.update(lines)
                    continue
                if not imported <= set(allowed_imports) | {"__future__"}:
                    raise ExtractionError("import_not_allowed", ", ".join(sorted(imported)))
                sources.append(example.source)
        bound = set().union(*map(_bound_names, sources)) if sources else set()
        known = set(self._bindings) - bound
        wanted = set().union(*map(_global_names, sources)) & known if sources else set()
        return cut, sorted(wanted)

    def _is_example(self, lines: range, source: str) -> bool:
        shown = [self._lines[i].strip()[len(_PROMPT) :].strip() for i in lines]
        return shown == [line.strip() for line in source.splitlines()]

    def _assemble(
        self,
        target: Definition,
        needed: dict[str, ast.stmt],
        future: str,
        cut: set[int],
        max_lines: int,
    ) -> Snippet:
        if any(_reads_clock(node) for node in needed.values()):
            raise ExtractionError("reads_the_clock")
        imports, others = [], []
        for node in sorted(set(needed.values()), key=lambda node: node.lineno):
            if isinstance(node, ast.Import | ast.ImportFrom):
                aliases = [a for a in node.names if needed.get(_bound_name(a)) is node]
                imports.append(_import_lines(node, aliases))
            else:
                first, last = _line_range(node)
                kept = [self._lines[i] for i in range(first, last) if i not in cut]
                others.append("\n".join(kept))
                if node is target:
                    definition = others[-1]
        separator = "\n\n\n"
        head = future + "".join(imports)
        source = (head + "\n\n" if head else "") + separator.join(others) + "\n"
        if source.count("\n") > max_lines:
            raise ExtractionError("too_long", f"{source.count(chr(10))} lines")
        return Snippet(target.name, source, definition)


def docstrings(target: Definition) -> Iterator[tuple[Definition, str]]:
    """Docstrings of a definition and, for a class, of its methods, with their owners."""
    owners: list[Definition] = [target]
    if isinstance(target, ast.ClassDef):
        owners += [node for node in target.body if isinstance(node, _FUNCTION)]
    for owner in owners:
        text = ast.get_docstring(owner, clean=False)
        if text is not None:
            yield owner, text


def has_doctest(target: Definition) -> bool:
    return any(_PROMPT in text for _, text in docstrings(target))


def parse_examples(docstring: str) -> list[doctest.Example]:
    """The examples of a docstring.

    Raises:
      ExtractionError: `malformed_doctest`.
    """
    try:
        return doctest.DocTestParser().get_examples(docstring)
    except ValueError as error:
        raise ExtractionError("malformed_doctest", str(error)) from error


def _own_package_names(path: str) -> frozenset[str]:
    """Top-level module names by which a file's own doctests may import it."""
    parts = list(PurePosixPath(path).with_suffix("").parts)
    while parts and parts[0] in ("src", "lib", "Lib", "python"):
        del parts[0]
    return frozenset(part for part in (parts[:1] + parts[-1:]) if part != "__init__")


def _bindings(body: list[ast.stmt], nested: bool = False) -> Iterator[tuple[str, ast.stmt]]:
    """What each statement of a module binds; under `if` and `try` only imports."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield _bound_name(alias), node
        elif isinstance(node, ast.If | ast.Try):
            branches = [node.body, node.orelse, *(h.body for h in getattr(node, "handlers", []))]
            # The first branch is the usual one, so it comes last and wins.
            for branch in reversed(branches):
                yield from _bindings(branch, nested=True)
        elif nested:
            continue
        elif isinstance(node, (*_FUNCTION, ast.ClassDef)):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        yield name.id, node


def _bound_name(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _line_range(node: ast.stmt) -> tuple[int, int]:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    assert node.end_lineno is not None
    return first - 1, node.end_lineno


@functools.lru_cache(maxsize=4096)
def _global_names(source: str) -> frozenset[str]:
    """Names that `source` takes from the module around it, annotations included.

    Raises:
      ExtractionError: `not_separable`: the lines of the statement are no program alone.
    """
    pending = [_symbol_table(source)]
    names = set()
    while pending:
        table = pending.pop()
        module = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() if module else symbol.is_global():
                names.add(symbol.get_name())
        pending += table.get_children()
    return frozenset(names)


@functools.lru_cache(maxsize=4096)
def _bound_names(source: str) -> frozenset[str]:
    symbols = _symbol_table(source).get_symbols()
    return frozenset(s.get_name() for s in symbols if s.is_assigned() or s.is_imported())


def _symbol_table(source: str) -> symtable.SymbolTable:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return symtable.symtable(source, "snippet", "exec")
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ExtractionError("not_separable", str(error)) from error


def _imported_modules(source: str) -> set[str]:
    """Top-level modules that an example imports; a relative import is `.`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise ExtractionError("malformed_doctest", str(error)) from error
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add("." if node.level else (node.module or "").partition(".")[0])
    return modules


def _check_import(node: ast.Import | ast.ImportFrom, bound: str, allowed: Collection[str]) -> None:
    """Raises: ExtractionError: what `bound` is imported from may not be."""
    if isinstance(node, ast.ImportFrom):
        imported = "." * node.level + (node.module or "")
    else:
        imported = next(alias.name for alias in node.names if _bound_name(alias) == bound)
    if imported.partition(".")[0] not in allowed:
        raise ExtractionError("import_not_allowed", imported)


def _import_lines(node: ast.Import | ast.ImportFrom, aliases: list[ast.alias]) -> str:
    if isinstance(node, ast.ImportFrom):
        return ast.unparse(ast.ImportFrom(node.module, aliases, node.level)) + "\n"
    return "".join(f"{ast.unparse(ast.Import([alias]))}\n" for alias in aliases)


def _reads_clock(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Attribute) and n.attr in _CLOCK for n in ast.walk(node))
