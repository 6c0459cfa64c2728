"""A sweep of `tiny_command` as a gin file, for tests."""

from pathlib import Path

COMMAND = "tests.opencoder_jax.sweep.tiny_command"
TINY = f"""
from __gin__ import dynamic_registration
import __main__ as script
from {COMMAND.rpartition(".")[0]} import tiny_command
OUTPUT_DIR = %gin.REQUIRED
RATE = 0.5
script.tiny:
  output_dir = %OUTPUT_DIR
  recipe = @tiny_command.Recipe()
tiny_command.Recipe.rate = %RATE
"""
FROM = """
from __gin__ import dynamic_registration
import __main__ as script
INPUT_DIR = %gin.REQUIRED
script.tiny.input_dir = %INPUT_DIR
"""
SWEEP = """
from __gin__ import dynamic_registration
import __main__ as sweep_script
from opencoder_jax.sweep import definition

sweep_script.plan:
  sweep = @definition.Sweep()
  sweep_dir = %%SWEEP_DIR
definition.Sweep:
  name = 'tiny'
  title = 'Which rate?'
  stages = [
      @corpus/definition.Stage(),
      @reference/definition.Stage(),
      @train/definition.Stage(),
      @evaluate/definition.Stage(),
  ]
  arms = @definition.Arms()
  seeds = [0, 1]
  metrics = [@definition.Metric()]
definition.Metric.stage = 'evaluate'
definition.Metric.measure = 'loss'
definition.Stage.command = '%(command)s'
definition.Stage.gin_files = ['tiny.gin']
corpus/definition.Stage.name = 'corpus'
reference/definition.Stage.name = 'reference'
train/definition.Stage:
  name = 'train'
  gin_files = ['tiny.gin', 'from.gin']
  inputs = {'INPUT_DIR': 'corpus'}
  seed = 'tiny.seed'
evaluate/definition.Stage:
  name = 'evaluate'
  gin_files = ['tiny.gin', 'from.gin']
  inputs = {'INPUT_DIR': 'train'}
definition.Arms.arms = %(arms)s
%(more)s
"""


def write_sweep(folder: Path, arms: str, more: str = "", **files: str) -> list[str]:
    """Writes the gin files of a sweep; the arguments that `plan` needs.

    Args:
      folder: that gets them, and `sweep/`.
      arms: of the sweep, in gin.
      more: further bindings.
      files: name without `.gin` to the text of more gin files.
    """
    for name, text in {"tiny": TINY, "from": FROM, **files}.items():
        (folder / f"{name}.gin").write_text(text)
    (folder / "sweep.gin").write_text(SWEEP % {"command": COMMAND, "arms": arms, "more": more})
    return [
        f"--gin_search_paths={folder}",
        "--gin_file=sweep.gin",
        f"--gin.SWEEP_DIR={folder}/sweeps/tiny",
    ]
