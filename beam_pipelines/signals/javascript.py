"""Signals of JavaScript alone: the `qsc_codejavascript_*` rules, on the tree of a parser.

tree-sitter's grammar follows the language as it is written (JSX, optional chaining,
class fields, `#private`); a text parses if the tree has no error in it. The walk over
the tree runs outside Python, so a deeply nested or very long text costs time in proportion
and no recursion. All but the printing rule are undefined where the text does not parse.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator

import tree_sitter
import tree_sitter_javascript

from beam_pipelines.signals import syntax_tree
from beam_pipelines.signals.declarations import share_of_lines
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.python_tree import MAX_CHARACTERS
from beam_pipelines.signals.registry import signal

# A query for nodes by kind alone holds nothing from node to node, so its time does not
# depend on how they nest; what is in each of them is looked up here.
_ASSIGNMENT = "assignment_expression"
_DECLARATIONS = (
    *("variable_declarator", "for_in_statement", "return_statement", "import_statement"),
    *("class_declaration", "function_declaration", "generator_function_declaration"),
)
_WITH_EXPORTS = (*_DECLARATIONS, _ASSIGNMENT)
# Below 2^16 levels, which operators and arrows reach without brackets, a query keeps what
# it should drop and takes minutes a megabyte.
_MAX_DEPTH = 30_000
# Among millions of siblings (`;;;;`) a query slows down; the densest file that we know,
# 0.9 MB of a compiled program, has 1.0 million nodes.
_MAX_NODES = 3_000_000
# What else binds a name, for the question whether any variable is there.
_BINDINGS = ("formal_parameters", "arrow_function", "field_definition", "catch_clause", _ASSIGNMENT)
_PLAIN = frozenset(
    ("string", "number", "regex", "true", "false", "null", "undefined", "identifier")
) | {"unary_expression"}
_FUNCTIONS = frozenset(("function_expression", "generator_function"))
_EXPORTED_FUNCTIONS = _FUNCTIONS | {"arrow_function"}
_PATTERNS = frozenset(("object_pattern", "array_pattern"))
_NO_STATEMENTS = ("comment", "html_comment", "hash_bang_line")

_STRING = re.compile(
    r"""'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"|`[^`\\]*+(?:\\.[^`\\]*+)*+`"""
)
_VARIABLE_NAME = re.compile(r"[a-z$][a-zA-Z0-9]*")
_FUNCTION_NAME = re.compile(r"[a-zA-Z$][a-zA-Z0-9]*")
_CLASS_NAME = re.compile(r"[A-Z][a-zA-Z0-9]*")
_PRINT = re.compile(r"console\.log(?<=\bconsole\.log)\b")

type _Nodes = dict[str, list[tree_sitter.Node]]


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """What the signals need of a tree.

    Attributes:
      statements: on the top level.
      variables, functions, classes: their names.
      plain_variables: without a value, or with a literal, name or unary expression.
      imports, plain_returns: how many.
      binds: whether any name is bound or assigned, parameters and patterns too.
    """

    statements: int
    variables: list[str]
    functions: list[str]
    classes: list[str]
    plain_variables: int
    imports: int
    plain_returns: int
    binds: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Variable:
    """A name or pattern that gets a value, or a function."""

    name: tree_sitter.Node
    plain: bool
    function: bool


def tree(document: ParsedDocument) -> Tree | None:
    """The tree of the text; None where it does not parse, is too long or nests too deeply."""
    if len(document.text) > MAX_CHARACTERS:
        return None
    content = document.text.encode("utf-8", "surrogatepass")
    if syntax_tree.nests_too_deeply(content):
        code = _STRING.sub("", document.code)  # Brackets in strings do not nest.
        if syntax_tree.nests_too_deeply(code.encode("utf-8", "surrogatepass")):
            return None
    parsed = syntax_tree.parse(_language(), content)
    if parsed is None or parsed.root_node.descendant_count > _MAX_NODES:
        return None
    root = parsed.root_node
    exports = b"module" in content and b"exports" in content
    nodes = _captures(root, _WITH_EXPORTS if exports else _DECLARATIONS)

    def text(node: tree_sitter.Node) -> str:
        return content[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def names(kind: str) -> list[str]:
        return [text(name) for node in nodes.get(kind, ()) if (name := _field(node, "name"))]

    found = [*_variables(nodes), *_exports(nodes, text)]
    named = [variable for variable in found if variable.name.type not in _PATTERNS]
    variables = [text(variable.name) for variable in named if not variable.function]
    functions = [text(variable.name) for variable in named if variable.function]
    return Tree(
        statements=_num_statements(root),
        variables=variables,
        functions=functions
        + names("function_declaration")
        + names("generator_function_declaration"),
        classes=names("class_declaration"),
        plain_variables=sum(variable.plain for variable in found),
        imports=len(nodes.get("import_statement", ())),
        plain_returns=sum(map(_returns_plainly, nodes.get("return_statement", ()))),
        binds=len(found) > len(functions) or _binds(_captures(root, _BINDINGS)),
    )


def _variables(nodes: _Nodes) -> Iterator[_Variable]:
    """Of declarations and of loops that declare theirs."""
    for declarator in nodes.get("variable_declarator", ()):
        if name := _field(declarator, "name"):
            value = _field(declarator, "value")
            plain = value is None or value.type in _PLAIN or _holds_plain(value)
            yield _Variable(name, plain, value is not None and value.type in _FUNCTIONS)
    for loop in nodes.get("for_in_statement", ()):
        name = _field(loop, "left")
        if name is not None and _field(loop, "kind") is not None:
            yield _Variable(name, plain=True, function=False)


def _exports(nodes: _Nodes, text: Callable[[tree_sitter.Node], str]) -> Iterator[_Variable]:
    """The names of `module.exports.name = value`."""
    for assignment in nodes.get(_ASSIGNMENT, ()):
        target, value = _field(assignment, "left"), _field(assignment, "right")
        if target is None or value is None or target.type != "member_expression":
            continue
        owner, name = _field(target, "object"), _field(target, "property")
        if owner is None or name is None or owner.type != "member_expression":
            continue
        module, exports = _field(owner, "object"), _field(owner, "property")
        if (
            name.type == "property_identifier"
            and module is not None
            and module.type == "identifier"
            and text(module) == "module"
            and exports is not None
            and exports.type == "property_identifier"
            and text(exports) == "exports"
        ):
            yield _Variable(name, value.type in _PLAIN, value.type in _EXPORTED_FUNCTIONS)


def _returns_plainly(statement: tree_sitter.Node) -> bool:
    """Whether it returns nothing, or a literal, name or unary expression."""
    values = statement.named_children
    return not values or any(value.type in _PLAIN or _holds_plain(value) for value in values)


def _holds_plain(value: tree_sitter.Node) -> bool:
    return value.type == "parenthesized_expression" and any(
        child.type in _PLAIN for child in value.named_children
    )


def _binds(nodes: _Nodes) -> bool:
    """Whether any parameter, field, caught error or assignment binds a name."""
    return bool(
        nodes.get("field_definition")
        or nodes.get(_ASSIGNMENT)
        or any(parameters.named_child_count for parameters in nodes.get("formal_parameters", ()))
        or any(_field(clause, "parameter") for clause in nodes.get("catch_clause", ()))
        or any(
            parameter.type == "identifier"
            for function in nodes.get("arrow_function", ())
            if (parameter := _field(function, "parameter"))
        )
    )


def _num_statements(root: tree_sitter.Node) -> int:
    """Of the top level."""
    others = _captures(root, _NO_STATEMENTS, depth=1)
    return root.named_child_count - sum(map(len, others.values()))


def _field(node: tree_sitter.Node, name: str) -> tree_sitter.Node | None:
    return node.child_by_field_name(name)


def _captures(root: tree_sitter.Node, kinds: tuple[str, ...], depth: int = _MAX_DEPTH) -> _Nodes:
    """The nodes of each of the kinds down to a depth, in the order of the text."""
    cursor = tree_sitter.QueryCursor(_query(kinds))
    cursor.set_max_start_depth(depth)
    return cursor.captures(root)


@functools.cache
def _language() -> tree_sitter.Language:
    return tree_sitter.Language(tree_sitter_javascript.language())


@functools.cache
def _query(kinds: tuple[str, ...]) -> tree_sitter.Query:
    return tree_sitter.Query(_language(), "\n".join(f"({kind}) @{kind}" for kind in kinds))


@signal("qsc_codejavascript_cate_ast", "javascript")
def cate_ast(document: ParsedDocument) -> float:
    """Whether the text parses."""
    return float(document.once(tree) is not None)


@signal("qsc_codejavascript_cate_var_zero", "javascript")
def cate_var_zero(document: ParsedDocument) -> float | None:
    """Whether no name is declared, bound as a parameter or in a pattern, or assigned."""
    found = document.once(tree)
    return None if found is None else float(not found.binds)


@signal("qsc_codejavascript_frac_lines_func_ratio", "javascript")
def frac_lines_func_ratio(document: ParsedDocument) -> float | None:
    """Function declarations and functions given a name by `var` or `module.exports`."""
    found = document.once(tree)
    return None if found is None else share(len(found.functions), document.num_code_lines)


@signal("qsc_codejavascript_num_statement_line", "javascript")
def num_statement_line(document: ParsedDocument) -> float | None:
    """Statements of the top level of all lines."""
    found = document.once(tree)
    return None if found is None else share(found.statements, document.num_code_lines)


@signal("qsc_codejavascript_score_lines_no_logic", "javascript")
def score_lines_no_logic(document: ParsedDocument) -> float | None:
    """Functions, imports, plain variables, plain returns and classes of all lines."""
    found = document.once(tree)
    if found is None:
        return None
    lines = len(found.functions) + len(found.classes) + found.imports
    lines += found.plain_variables + found.plain_returns
    return share(lines, document.num_code_lines)


@signal("qsc_codejavascript_frac_words_legal_var_name", "javascript")
def frac_words_legal_var_name(document: ParsedDocument) -> float | None:
    found = document.once(tree)
    return _share_of_names(found.variables if found else [], _VARIABLE_NAME)


@signal("qsc_codejavascript_frac_words_legal_func_name", "javascript")
def frac_words_legal_func_name(document: ParsedDocument) -> float | None:
    found = document.once(tree)
    return _share_of_names(found.functions if found else [], _FUNCTION_NAME)


@signal("qsc_codejavascript_frac_words_legal_class_name", "javascript")
def frac_words_legal_class_name(document: ParsedDocument) -> float | None:
    found = document.once(tree)
    return _share_of_names(found.classes if found else [], _CLASS_NAME)


@signal("qsc_codejavascript_frac_lines_print", "javascript")
def frac_lines_print(document: ParsedDocument) -> float | None:
    return share_of_lines(document, _PRINT)


def _share_of_names(names: list[str], form: re.Pattern[str]) -> float | None:
    return share(sum(form.fullmatch(name) is not None for name in names), len(names))
