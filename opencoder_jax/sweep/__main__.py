"""`python -m opencoder_jax.sweep ACTION ...`: only the action's own module is imported."""

import importlib
import sys
from collections.abc import Sequence

ACTIONS = {
    "plan": "expands a sweep's gin file, checks every arm, writes plan.json",
    "run": "runs the stages of a plan, here or as scripts for a cluster",
    "status": "what is done, what runs, what failed",
    "report": "arms compared with the baseline, with error bars and a verdict",
    "diff": "the settings in which two arms differ",
    "search": "plans and runs arms that follow from the results of others",
    "browse": "one page over folders of runs",
}


def main(argv: Sequence[str]) -> int:
    """Hands over to `opencoder_jax.sweep.ACTION`; returns its exit status."""
    action = argv[0] if argv else ""
    if action in ACTIONS:
        module = importlib.import_module(f"opencoder_jax.sweep.{action}")
        return module.main(argv[1:])
    lines = "\n".join(f"  {name:<8} {what}" for name, what in ACTIONS.items())
    if action in ("-h", "--help"):
        print(f"usage: python -m opencoder_jax.sweep ACTION ...\n\n{lines}\n\nACTION --help")
        return 0
    given = f"no action {action!r}" if action else "which action?"
    print(f"error: {given}; actions:\n{lines}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
