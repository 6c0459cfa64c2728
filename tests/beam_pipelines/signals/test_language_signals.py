"""Signals of C, C++, C#, Go, HTML and Java, with values worked out by hand."""

import textwrap

import pytest

from beam_pipelines.signals.compute import compute_signals

PREFIXES = {
    "c": "qsc_codec_",
    "cpp": "qsc_codecpp_",
    "csharp": "qsc_codecsharp_",
    "go": "qsc_codego_",
    "html": "qsc_codehtml_",
    "java": "qsc_codejava_",
    "javascript": "qsc_codejavascript_",
}


def signals(language: str, source: str, path: str = "file") -> dict[str, float | None]:
    text = textwrap.dedent(source)
    result = compute_signals(
        text, language=language, doc_type="code", path=path, size_bytes=1, document_id="0"
    )
    assert result.errors == {}
    own = PREFIXES[language]
    return {k.removeprefix(own): v for k, v in result.values.items() if k.startswith(own)}


def functions(language: str, source: str) -> float:
    """Functions counted, from their share of the lines."""
    lines = len([line for line in source.split("\n") if line.strip()])
    share = signals(language, source)["frac_lines_func_ratio"]
    assert share is not None
    return round(share * lines, 4)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("int main(void)\n{\n}", 1),
        ("static char **split(const char *text);", 1),
        ("std::vector<int> all(int n);", 1),
        ("void Tree::insert(int key) {\n}", 1),
        ("return f(x);", 0),
        ("else g(x);", 0),
        ("} else if(x) {", 0),
        ("f(x);", 0),
        ("#define MAX(a, b) 1", 0),
        ("#endif\nf(x);", 0),
        ("if (ready && start(x)) {", 0),
        ('puts("int f(x)");', 0),
        ("Lock lock(&mutex);", 0),
        ("json part(all.begin(), all.end());", 0),
        ('Name name("x");', 0),
        ("int each(void (*then)(int), const T &t, ...);", 1),
        ("int all(Args... args, std::function<void(int)> then) {", 1),
        ("unsigned size(void);", 1),
    ],
)
def test_c_functions_are_declared_ones_and_no_calls(source, count):
    assert functions("cpp", source) == count
    if "::" not in source:
        assert functions("c", source) == count


def test_c_lines_are_told_by_whole_words():
    values = signals("c", "sprintf(s);\nprintf(s);\nint gotonext;\ngoto end;\n")
    assert values["frac_lines_print"] == 0.25
    assert values["frac_lines_goto"] == 0.25
    assert signals("cpp", "std::cout << 1;\nint account;\n")["frac_lines_print"] == 0.5


def test_c_logic_is_what_declares_and_returns():
    source = """\
        #include<stdio.h>
        int x;
        int f(void) {
            y = g(x);
            return y;
        }
        """
    assert signals("c", source)["score_lines_no_logic"] == pytest.approx(4 / 6, abs=1e-8)


def test_c_headers_have_no_share_of_directives():
    source = "#include <a.h>\n# define B\nstruct s;\nint reconstruct;\n"
    assert signals("c", source, "a.c")["frac_lines_preprocessor_directives"] == 0.75
    assert signals("c", source, "a.h")["frac_lines_preprocessor_directives"] is None


def test_c_variables_are_no_returned_names():
    assert signals("c", "return x;\ngoto out;\n")["cate_var_zero"] == 1
    assert signals("c", "const char *names[4], *other;\n")["cate_var_zero"] == 0


def test_several_programs_in_one_file_are_seen():
    values = signals("c", "#include <bits/stdc++.h>\nint main() {\n}\nint main(int n)\n{\n}\n")
    assert values["nums_lines_main"] == 2
    assert values["cate_bitsstdc"] == 1


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("public int Add(int a) {\n}", 1),
        ("private static async Task<List<int>> All() {\n}", 1),
        ("int[] Rows();", 1),
        ("return new Foo(x);", 0),
        ("new Foo(x);", 0),
        ("public Foo(int x) {\n}", 0),
        ("await Run(x);", 0),
    ],
)
def test_csharp_methods_have_a_type(source, count):
    assert functions("csharp", source) == count


@pytest.mark.parametrize(
    ("source", "none"),
    [
        ("using System;\nnamespace A {\n  enum B { C, D }\n}\n", 1),
        ("interface A {\n  void F(Thing t);\n}\n", 0),
        ("class A {\n  public Thing B { get; set; }\n}\n", 0),
        ("class A {\n  void F() { G(); return; }\n}\n", 1),
        ("class A {\n  void F() { var x = 1; }\n}\n", 0),
    ],
)
def test_csharp_knows_files_without_a_variable(source, none):
    assert signals("csharp", source)["cate_var_zero"] == none


def test_every_line_of_a_go_import_block_is_an_import():
    source = """\
        package a
        import (
            "fmt"
            log "x/log"
        )
        import "os"
        func f() {
            fmt.Println(1)
        }
        """
    # Five lines of imports and a function, of nine.
    assert signals("go", source)["score_lines_no_logic"] == pytest.approx(6 / 9, abs=1e-8)
    assert signals("go", source)["frac_lines_print"] == pytest.approx(1 / 9, abs=1e-8)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("func f() {\n}", 1),
        ("func (t *Tree[K]) Get(k K) {\n}", 1),
        ("func (*T) m() {\n}", 1),
        ("func Map[T any](x T) {\n}", 1),
        ("x := func() {\n}", 0),
    ],
)
def test_go_functions_have_a_name(source, count):
    assert functions("go", source) == count


@pytest.mark.parametrize(
    ("source", "none"),
    [
        ("// Package a is documented.\npackage a\n", 1),
        ("package a\nfunc f() {\n\tg()\n}\n", 1),
        ("package a\nfunc f(x int) {\n}\n", 0),
        ("package a\ntype T struct {\n\tx int\n}\n", 0),
        ("package a\ntype I interface {\n\tGet(key string) error\n}\n", 0),
        ("package a\nvar x = 1\n", 0),
    ],
)
def test_go_knows_files_without_a_variable(source, none):
    assert signals("go", source)["cate_var_zero"] == none


def test_go_tests_are_known_by_their_name():
    assert signals("go", "package a\n", "x/a_test.go")["cate_testfile"] == 1
    assert signals("go", "package a\n", "x/test.go")["cate_testfile"] == 0


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>one <b>two</b></p>", "one two"),
        ("<script>var x = '<p>';</script>a<style>b{}</style>", "a"),
        ("a<!-- b > c -->d<!DOCTYPE html>", "ad"),
        ("&lt;a&gt; &amp; &eacute;", "<a> & é"),
        ('<a title="x > y">z</a>', "z"),
        ("<p>\n\n  </p>", "\n"),
        ("<p> \xa0 </p>", " \xa0 "),
        ("<pre>  \n<b> </b></pre>", "  \n "),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<script>never closed", ""),
    ],
)
def test_html_text_is_what_a_page_shows(source, text):
    values = signals("html", source)
    assert values["num_chars_text"] == len(text)
    assert values["frac_words_text"] == pytest.approx(len(text) / len(source), abs=1e-8)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("public static <T> List<T> of(T a) {\n}", 1),
        ("@Override protected final int[] rows() {\n}", 1),
        ("Map<String, List<Integer>> all();", 1),
        ("return f(x);", 0),
        ("throw new Error(x);", 0),
        ("public Foo(int x) {\n}", 0),
        ("else f(x);", 0),
    ],
)
def test_java_methods_have_a_type(source, count):
    assert functions("java", source) == count


@pytest.mark.parametrize(
    ("source", "none"),
    [
        ("@interface A {\n  String value();\n}\n", 1),
        ("class A {\n  void f() { g(); return; }\n}\n", 1),
        ("import a.b;\nclass A extends B implements C, D {\n}\n", 1),
        ("interface A {\n  void f(Map<String, Integer> m);\n}\n", 0),
        ("class A {\n  private volatile long x;\n}\n", 0),
        ("class A {\n  void f() { for (int[] row : rows) { g(); } }\n}\n", 0),
        ('class A {\n  void f() { g("int x, y"); }\n}\n', 1),
        ("class A {\n  void f() { g(() -> h()); }\n}\n", 1),
        ("class A {\n  void f() { g(x -> h(x)); }\n}\n", 0),
        ("class A {\n  void f() { g((x, y) -> h(x)); }\n}\n", 0),
        ("class A {\n  void f() { switch (g()) {\n    case B -> h();\n  } }\n}\n", 1),
    ],
)
def test_java_variables_are_fields_locals_and_parameters(source, none):
    assert signals("java", source)["cate_var_zero"] == none


def test_java_names_are_judged_as_they_are():
    source = "class a_b {\n  int Good_one;\n  int fine;\n  public int f(int x) {\n  }\n}\n"
    values = signals("java", source)
    assert values["frac_words_legal_var_name"] == pytest.approx(2 / 3, abs=1e-8)
    assert values["frac_words_legal_func_name"] == 1
    assert values["frac_words_legal_class_name"] == 0
    assert values["frac_words_no_modifier"] == 0.5
    assert signals("java", "int x;\n")["frac_words_legal_func_name"] is None


def test_java_logic_counts_static_imports():
    source = "import static a.B.c;\nimport a.*;\nclass A {\n  x = 1;\n}\n"
    assert signals("java", source)["score_lines_no_logic"] == 0.6


@pytest.mark.parametrize("language", PREFIXES)
@pytest.mark.parametrize(
    "text",
    ["", "\n", "\0", "a " * 20_000, "(" * 40_000, '"' * 40_000, "'\"\\" * 10_000]
    + [
        piece * 5_000
        for piece in ("<a ", "List<", "a::", "int *", "type a[", "import (\n", "@A(", "a.b")
    ],
)
def test_no_text_breaks_a_signal(language, text):
    assert signals(language, text) is not None
