"""Tiny data in the published layouts, written by hand, one record or two each."""

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

HUMANEVAL_PLUS = {
    "task_id": "HumanEval/900",
    "prompt": 'def mean(values):\n    """The mean."""\n',
    "canonical_solution": "    return sum(values) / len(values)\n",
    "entry_point": "mean",
    "base_input": [[[1.0, 2.0]]],
    "plus_input": [[[0.1, 0.2, 0.3]], [[1e9]]],
    "contract": "",
    "atol": 0,
}
# 106 gets a list and a tuple; 2 is compared as a set; 252 takes a complex number.
MBPP_PLUS = [
    {
        "task_id": "Mbpp/106",
        "prompt": '"""\nAdd the list to the tuple.\nassert add_lists([5], (9,)) == (9, 5)\n"""\n',
        "canonical_solution": "\ndef add_lists(items, pair):\n    return pair + tuple(items)\n",
        "entry_point": "add_lists",
        "base_input": [[[5], [9]]],
        "plus_input": [[[], []]],
        "atol": 0,
    },
    {
        "task_id": "Mbpp/2",
        "prompt": '"""\nShared elements.\nassert similar_elements((3,), (3,)) == (3,)\n"""\n',
        "canonical_solution": "\ndef similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
        "entry_point": "similar_elements",
        "base_input": [[[3, 4], [4, 3]]],
        "plus_input": [],
        "atol": 0,
    },
    {
        "task_id": "Mbpp/252",
        "prompt": '"""\nPolar form.\nassert convert(1) == (1.0, 0.0)\n"""\n',
        "canonical_solution": "import cmath\ndef convert(z):\n    return cmath.polar(z)\n",
        "entry_point": "convert",
        "base_input": [["1"]],
        "plus_input": [["(-0-1j)"]],
        "atol": 0,
    },
]
MBPP = [
    {
        "task_id": number,
        "text": f"Write a function to add {number}.",
        "code": f"def add_it(x):\r\n  return x + {number}",
        "test_setup_code": "",
        "test_list": [f"assert add_it({n}) == {n + number}" for n in range(3)],
        "challenge_test_list": [],
    }
    for number in (1, 2, 3, 10, 11, 510, 511)
]
BIGCODEBENCH = {
    "task_id": "BigCodeBench/900",
    "complete_prompt": 'import json\n\ndef task_func(x):\n    """As JSON."""\n',
    "instruct_prompt": "Write x as JSON.\n```\nimport json\ndef task_func(x):\n```",
    "code_prompt": "import json\ndef task_func(x):\n",
    "canonical_solution": "    return json.dumps(x)\n",
    "test": (
        "import unittest\n\nclass TestCases(unittest.TestCase):\n"
        "    def test_case_1(self):\n        self.assertEqual(task_func([1]), '[1]')\n"
        "    def test_case_2(self):\n        self.assertEqual(task_func(None), 'null')\n"
    ),
    "entry_point": "task_func",
    "libs": "['json']",
}
INFILLING = {
    "task_id": "SingleLineInfilling/HumanEval/900/L0",
    "entry_point": "twice",
    "prompt": "def twice(x):\n",
    "suffix": "    return y\n",
    "canonical_solution": "    y = 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}
MULTIPLE = {
    "cpp": {
        "name": "HumanEval_900_twice",
        "language": "cpp",
        "prompt": "#include <assert.h>\n// Twice x.\nlong twice(long x) {\n",
        "tests": "}\nint main() {\n    auto candidate = twice;\n    assert(candidate(2) == 4);\n}",
        "stop_tokens": ["\n}"],
    },
    "sh": {
        "name": "HumanEval_900_twice",
        "language": "sh",
        "prompt": "#!/bin/bash\n# Twice $1.\ntwice() {\n",
        "tests": '}\n\ncandidate() {\n    twice "$@"\n}\n\nset -e\n[[ $(candidate 2) = 4 ]]\n',
        "stop_tokens": ["\n}"],
    },
    "js": {
        "name": "HumanEval_900_twice",
        "language": "js",
        "prompt": "//Twice x.\nfunction twice(x){\n",
        "tests": "const assert = require('node:assert');\nassert.deepEqual(twice(2), 4);\n",
        "stop_tokens": ["\nfunction ", "\n//"],
    },
}
MCEVAL = {
    "Python": {
        "task_id": "Python/900",
        "prompt": 'def twice(x):\n    """ Twice x. """',
        "canonical_solution": "    return 2 * x",
        "test": "def check(twice):\n    assert twice(2) == 4",
        "entry_point": "twice",
        "signature": "def twice(x):",
        "instruction": "Write a python function 'def twice(x):' to solve the following problem:",
        "level": "easy",
    },
    "C#": {
        "task_id": "C#/900",
        "prompt": "using System;\n\nclass Program\n{\n    // Twice x.\n    static int Twice(int x)",
        "canonical_solution": "    {\n        return 2 * x;\n    }",
        "test": "static void Main()\n{\n    Console.WriteLine(Twice(2) == 4);\n}\n}",
        "entry_point": "Twice",
        "signature": "static int Twice(int x)",
        "instruction": "Write a C# function `static int Twice(int x)` to solve the problem:",
        "level": "middle",
    },
    "JavaScript": {
        "task_id": "JavaScript/900",
        "prompt": "\n// Twice x.\nfunction twice(x)",
        "canonical_solution": "{\n    return 2 * x;\n}",
        "test": "(() => {\n    console.assert(twice(2) === 4, 'no');\n})();",
        "entry_point": "twice",
        "signature": "function twice(x)",
        "instruction": "Write a JavaScript function `function twice(x)` to solve the problem:",
        "level": "easy",
    },
}
MDEVAL = {
    "question_id": "Python/900",
    "category": "Logic",
    "level": "easy",
    "buggy_code": "def twice(x):\n    return 3 * x",
    "canonical_solution": "def twice(x):\n    return 2 * x",
    "test": "def check():\n    assert twice(2) == 4\n\ncheck()",
    "instruction": "Observe the following faulty Python code\n...\nFix bugs",
}
# As `code_generation_lite` has them: one reads stdin, one is a method.
STDIN_PROBLEM = {
    "question_title": "Sum",
    "question_content": "Print the sum of two numbers.",
    "platform": "atcoder",
    "question_id": "abc900_a",
    "contest_id": "abc900",
    "contest_date": "2024-01-06T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": json.dumps([{"input": "4 5\n", "output": "9.0", "testtype": "stdin"}]),
    "metadata": "{}",
}
METHOD_PROBLEM = {
    **STDIN_PROBLEM,
    "platform": "leetcode",
    "question_id": "3900",
    "contest_date": "2024-08-31T00:00:00",
    "starter_code": "class Solution:\n    def add(self, xs: List[int], y: int) -> List[int]:\n",
    "difficulty": "hard",
    "public_test_cases": json.dumps(
        [{"input": "[1, 2]\n3", "output": "[4, 5]", "testtype": "functional"}]
    ),
    "metadata": json.dumps({"func_name": "add"}),
}


def packed_tests(value: Any) -> str:
    """As the release packs hidden tests: base64 of zlib of a pickle."""
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


METHOD_PROBLEM["private_test_cases"] = packed_tests(
    json.dumps([{"input": "[]\n3", "output": "[]", "testtype": "functional"}])
)


def write(folder: Path) -> Path:
    """A data folder with all of them."""
    files = {
        "HumanEvalPlus.jsonl": [HUMANEVAL_PLUS],
        "MbppPlus.jsonl": MBPP_PLUS,
        "mbpp.jsonl": MBPP,
        "BigCodeBench.jsonl": [BIGCODEBENCH],
        "BigCodeBench_Hard.jsonl": [BIGCODEBENCH],
        "HumanEval-SingleLineInfilling.jsonl": [INFILLING],
        **{f"humaneval-{name}.jsonl": [row] for name, row in MULTIPLE.items()},
        **{f"mceval/{name}.jsonl": [row] for name, row in MCEVAL.items()},
        "mdeval/bug/Python.jsonl": [MDEVAL],
        "test.jsonl": [
            STDIN_PROBLEM,
            {**STDIN_PROBLEM, "question_id": "x", "contest_date": "2023-01-01"},
        ],
        "test2.jsonl": [METHOD_PROBLEM],
    }
    for name, rows in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
