"""Calls one function of `solution.py` with the arguments on stdin and compares what it gives.

stdin is JSON: `name`, `arguments`, `expected`. A class `Solution` has the function as its
method, as on LeetCode. A tuple counts as the list of its items.
"""

import json
import sys


def main():
    case = json.load(sys.stdin)
    with open("solution.py") as file:
        source = file.read()
    names: dict = {"__name__": "solution"}
    exec(compile(source, "solution.py", "exec"), names)
    holder = names.get("Solution")
    function = getattr(holder(), case["name"]) if holder else names[case["name"]]
    value = function(*case["arguments"])
    if isinstance(value, tuple):
        value = list(value)
    if value != case["expected"]:
        shown = [repr(part)[:200] for part in (case["arguments"], value, case["expected"])]
        raise AssertionError("{} gave {}, expected {}".format(*shown))


main()
