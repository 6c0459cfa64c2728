"""Signals of JavaScript alone: the `qsc_codejavascript_*` rules, on the tree of a parser.

tree-sitter's grammar follows the language as it is written (JSX, optional chaining,
class fields, `#private`); a text parses if the tree has no error in it. Its queries run
outside Python, so a deeply nested or very long text costs time in proportion and no
recursion. All but the printing rule are undefined where the text does not parse.
"""

import dataclasses
import functools
import re

import tree_sitter
import tree_sitter_javascript

from beam_pipelines.signals.declarations import share_of_lines
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.registry import signal

_PLAIN = (
    "[(string) (number) (regex) (true) (false) (null) (undefined) (identifier) (unary_expression)]"
)
_FUNCTIONS = "[(function_expression) (generator_function)]"
_EXPORT = """(assignment_expression left: (member_expression
    object: (member_expression
        object: (identifier) @module property: (property_identifier) @exports)
    property: (property_identifier) @{name}) right: {value}
    (#eq? @module "module") (#eq? @exports "exports"))"""
_QUERY = "\n".join(
    (
        f"(variable_declarator name: (identifier) @function value: {_FUNCTIONS})",
        "(function_declaration name: (identifier) @function)",
        "(generator_function_declaration name: (identifier) @function)",
        _EXPORT.format(
            name="function", value="[(function_expression) (generator_function) (arrow_function)]"
        ),
        "(variable_declarator name: (identifier) @declared)",
        "(for_in_statement kind: _ left: (identifier) @declared)",
        "(for_in_statement kind: _ left: (_) @plain)",
        _EXPORT.format(name="declared", value="_"),
        "(variable_declarator name: (_) @plain !value)",
        f"(variable_declarator name: (_) @plain value: {_PLAIN})",
        f"(variable_declarator name: (_) @plain value: (parenthesized_expression {_PLAIN}))",
        _EXPORT.format(name="plain", value=_PLAIN),
        f"(return_statement {_PLAIN}) @return",
        f"(return_statement (parenthesized_expression {_PLAIN})) @return",
        "(return_statement) @any_return",
        "(return_statement (_)) @full_return",
        "(class_declaration name: (identifier) @class)",
        "(import_statement) @import",
        # What else binds a name, for the question whether any variable is there.
        "(formal_parameters (_) @bound)",
        "(arrow_function parameter: (identifier) @bound)",
        "(variable_declarator name: [(object_pattern) (array_pattern)] @bound)",
        "(field_definition) @bound",
        "(catch_clause parameter: (_) @bound)",
        "(assignment_expression) @bound",
    )
)
# The parser repairs what is no JavaScript at 0.1 MB a second. What has so many errors at its
# beginning is none; a file of JavaScript cut there has 14 at most (lodash).
_PREFIX = 32 << 10  # bytes
_MAX_ERRORS = 200

_VARIABLE_NAME = re.compile(r"[a-z$][a-zA-Z0-9]*")
_FUNCTION_NAME = re.compile(r"[a-zA-Z$][a-zA-Z0-9]*")
_CLASS_NAME = re.compile(r"[A-Z][a-zA-Z0-9]*")
_PRINT = re.compile(r"\bconsole\.log\b")


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


def tree(document: ParsedDocument) -> Tree | None:
    """The tree of the text; None where it does not parse."""
    parser, query, errors = _parser()
    content = document.text.encode("utf-8", "surrogatepass")
    if len(content) > 2 * _PREFIX:
        prefix = parser.parse(content[:_PREFIX]).root_node
        if len(tree_sitter.QueryCursor(errors).captures(prefix).get("error", [])) > _MAX_ERRORS:
            return None
    root = parser.parse(content).root_node
    if root.has_error:
        return None
    captures = tree_sitter.QueryCursor(query).captures(root)

    def names(capture: str) -> list[tuple[int, str]]:
        nodes = captures.get(capture, [])
        return [(node.start_byte, (node.text or b"").decode("utf-8", "replace")) for node in nodes]

    functions = names("function")
    of_functions = {position for position, _ in functions}
    variables = [name for position, name in names("declared") if position not in of_functions]
    plain_returns = len(captures.get("return", [])) + (
        len(captures.get("any_return", [])) - len(captures.get("full_return", []))
    )
    return Tree(
        statements=sum(child.type not in _NO_STATEMENTS for child in root.named_children),
        variables=variables,
        functions=[name for _, name in functions],
        classes=[name for _, name in names("class")],
        plain_variables=len(captures.get("plain", [])),
        imports=len(captures.get("import", [])),
        plain_returns=plain_returns,
        binds=bool(variables or captures.get("bound")),
    )


_NO_STATEMENTS = frozenset(("comment", "html_comment", "hash_bang_line"))


@functools.cache
def _parser() -> tuple[tree_sitter.Parser, tree_sitter.Query, tree_sitter.Query]:
    language = tree_sitter.Language(tree_sitter_javascript.language())
    errors = tree_sitter.Query(language, "(ERROR) @error")
    return tree_sitter.Parser(language), tree_sitter.Query(language, _QUERY), errors


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
