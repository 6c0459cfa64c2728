"""Helpers, constants and types that a function of an answer names."""

import pytest

from opencoder_jax.evaluation.reached_definitions import reached_definitions

CPP = """#include <vector>
#define LIMIT 100
using namespace std;

// Not called.
int other(int x) { return x; }

const int MOD = 7;
vector<vector<int>> memo(10, vector<int>(10));
struct Point { int x, y; };

template <typename T> T twice(T x) {
    return x + x;
}

bool isPrime(long n);

// Called by f.
int helper(int x) {
    if (isPrime(x)) { return twice(x) % MOD; }
    return memo[0][0] + LIMIT;
}

bool isPrime(long n) { return n == 2; }

int f(int n) {
    Point p{n, n};
    for (int i = 0; i < n; i++) {
        if (helper(i) > 3) { return p.x; }
    }
    return 0;
}

int main() { if (f(3)) { return 1; } }
"""
JAVA = """import java.util.*;

public class Solution {
    private static final int[] CACHE = new int[10];
    private static int unused = 3;

    // Called.
    private static int helper(int n) throws Exception {
        return CACHE[n] + 1;
    }

    public static int f(int n) {
        if (helper(n) > 0) { return 1; }
        return 0;
    }

    public static void main(String[] args) {
        System.out.println(f(3));
    }
}
"""
TYPESCRIPT = """interface Pair { first: number; second: number }
const OPEN = '({[';
const isOpen = (c: string): boolean => OPEN.includes(c);
function unused(): void {}
const count = function (text: string): number {
  return [...text].filter((c) => isOpen(c)).length;
};

function f(text: string): number {
  const pair: Pair = { first: count(text), second: 0 };
  return pair.first;
}

console.log(f('(('));
count('x');
"""
CSHARP = """using System;
namespace Answers {
class Program {
    static bool IsEven(int x) => x % 2 == 0;
    static readonly int Limit = 3;
    static bool Unused(int x) => IsEven(x);
    public static int F(int n) {
        while (!IsEven(n)) { n += Limit; }
        return n;
    }
    static void Main() { Console.WriteLine(F(3)); }
}
}
"""
BASH = """#!/bin/bash
is_even() {
    (( $1 % 2 == 0 ))
}
function unused {
    true
}
f() {
    if is_even "$1"; then echo yes; fi
}
f 3
"""
PHP = """<?php
const LIMIT = 3;
function helper($n) {
    return $n . '}{' . LIMIT;
}
function f($n) {
    return helper($n);
}
echo f(3);
echo helper(3);
?>
"""


@pytest.mark.parametrize(
    ("text", "name", "language", "kept", "gone"),
    [
        (
            *(CPP, "f", "cpp"),
            (
                *("#define LIMIT", "const int MOD", "> memo(10", "struct Point", "// Called by f."),
                *("template <typename T> T twice", "bool isPrime(long n);", "return n == 2"),
            ),
            ("other", "int f(", "main", "#include", "Not called"),
        ),
        (
            *(JAVA, "f", "java"),
            ("int[] CACHE", "// Called.", "helper(int n) throws"),
            ("unused", "main", "class", "int f("),
        ),
        (
            *(TYPESCRIPT, "f", "typescript"),
            ("interface Pair", "const OPEN = '({[';", "const isOpen", "const count"),
            ("unused", "console", "count('x')", "function f"),
        ),
        (*(CSHARP, "F", "csharp"), ("bool IsEven", "int Limit"), ("Unused", "Main", "int F")),
        (*(BASH, "f", "bash"), ("is_even() {\n", "2 == 0 ))\n}\n"), ("unused", "f 3", "yes")),
        (*(PHP, "f", "php"), ("const LIMIT", "function helper"), ("<?", "?>", "echo", "n f(")),
    ],
)
def test_what_the_function_names_is_kept(text, name, language, kept, gone):
    found = reached_definitions(text, name, language)
    for piece in kept:
        assert piece in found
    for piece in gone:
        assert piece not in found


def test_what_is_known_already_is_not_taken_again():
    assert "int MOD" not in reached_definitions(CPP, "f", "cpp", "const int MOD = 7;\n")


def test_a_function_that_is_not_there_reaches_nothing():
    assert reached_definitions(CPP, "g", "cpp") == ""
    assert reached_definitions("", "g", "java") == ""
    assert reached_definitions("} ) ; {{{ \u0000 '", "g", "javascript") == ""
