"""`immortal`: what is there keeps its count, what comes later is freed as ever."""

import subprocess
import sys

import pytest

from opencoder_jax.sandbox import Limits, Sandbox

needs_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="no immortal objects")
PROGRAM = """
import gc, json, sys, weakref
from opencoder_jax.sandbox.immortal import make_immortal

class Later:
    pass

before = [Later()]
assert make_immortal()
count = sys.getrefcount(json.dumps)
more = [json.dumps] * 1000
assert sys.getrefcount(json.dumps) == count == sys.getrefcount(None)
assert sys.getrefcount(json.dumps.__code__.co_consts) == count
later = Later()
gone = weakref.ref(later)
del later, more
cycle = [Later()]
cycle.append(cycle)
in_cycle = weakref.ref(cycle[0])
del cycle
# A pass over all objects, those that are immortal too.
gc.collect()
print(gone() is None, in_cycle() is None, json.dumps(before != []))
"""


@needs_312
def test_objects_that_are_there_are_immortal_and_later_ones_are_not():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True True true\n"), done.stderr


@needs_312
def test_programs_are_forked_from_immortal_objects_and_see_no_setting_of_the_linker():
    source = "import json, os, sys\nprint(sys.getrefcount(json.dumps) == sys.getrefcount(None))\n"
    source += "print('LD_BIND_NOW' in os.environ)\n"
    with Sandbox(Limits()) as sandbox:
        assert sandbox.run(source).stdout == "True\nFalse\n"
