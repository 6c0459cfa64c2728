"""What of the evaluator's benchmarks must not be in training data, by the names of its tasks.

`evaluate/tasks/NAME.gin` is the one table of benchmarks: it says which class reads which files.
The evaluator runs it by gin; here only its bindings are read, so that a data job, which is
another command with gin files of its own, asks the same objects for the same texts.
Next: `contamination` is the rule, `beam_pipelines/transforms/decontamination.py` applies it.
"""

import importlib
import inspect
from collections.abc import Sequence

from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.benchmark import Benchmark, Problem
from opencoder_jax.evaluation.contamination import ProblemTexts
from opencoder_jax.evaluation.data_files import DataFolder, MissingDataError
from opencoder_jax.evaluation.task_names import task_file
from opencoder_jax.sandbox import Limits


def benchmark_of(name: str, search_paths: Sequence[str] = ()) -> Benchmark:
    """The benchmark of a task, as its gin file has it; its limits are the sandbox's own.

    Raises:
      InputError: there is no such task, or its file is no benchmark's.
    """
    path = task_file(name, search_paths)
    written = configuration.read_gin(path, search_paths)
    made = written.macros.get(name.upper())
    if not isinstance(made, configuration.Reference):
        raise InputError(f"{path} sets no {name.upper()} = @BENCHMARK()")
    scope, _, selector = made.name.rpartition("/")
    module, _, class_name = selector.rpartition(".")
    if module not in written.imports:
        raise InputError(f"{path} imports no {module}")
    made_of = getattr(importlib.import_module(written.imports[module]), class_name, None)
    if not (inspect.isclass(made_of) and issubclass(made_of, Benchmark)):
        raise InputError(f"{path}: {selector} is no benchmark")
    arguments = {
        **written.bindings.get(("", selector), {}),
        **written.bindings.get((scope, selector), {}),
    }
    return made_of(**{**arguments, "limits": Limits()})


def load_texts(
    names: Sequence[str], data: DataFolder, search_paths: Sequence[str] = ()
) -> list[ProblemTexts]:
    """The texts of benchmarks.

    Args:
      names: of tasks.
      data: where their files lie.
      search_paths: folders with gin files of tasks, before the project's own.

    Raises:
      MissingDataError: files are missing; one error names all of them.
      InputError: a name is unknown, or a file is not as published.
    """
    benchmarks = [benchmark_of(name, search_paths) for name in names]
    texts, missing = [], []
    for benchmark in benchmarks:
        try:
            texts.append(texts_of(benchmark, benchmark.problems(data)))
        except MissingDataError as error:
            missing.append(f"{benchmark.name}: {error}")
    if missing:
        raise MissingDataError("; ".join(missing))
    return texts


def texts_of(benchmark: Benchmark, problems: Sequence[Problem]) -> ProblemTexts:
    """What must not be trained on, of these problems."""
    return ProblemTexts(
        benchmark.name,
        tuple((p.task_id, benchmark.searched_text(p)) for p in problems),
        tuple((p.task_id, name) for p in problems for name in benchmark.entry_points(p)),
    )
