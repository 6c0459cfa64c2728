"""Programs that try how far their room reaches; tests of roots and of ordinary users run them."""

# Prints how many children it could have at once.
COUNT_CHILDREN = """
import os, time
children = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        children += 1
except BlockingIOError:
    print(children)
"""

# Goes on where nothing of init can be read.
LOOK_INTO_INIT = """
import os
for path in ("/proc/1/mem", "/proc/1/fd", "/proc/1/environ", "/proc/1/root"):
    try:
        os.listdir(path) if path.endswith(("fd", "root")) else open(path, "rb").read(1)
    except OSError:
        continue
    raise SystemExit(path)
"""
