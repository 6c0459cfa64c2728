"""Bad input that a worker finds is told as any other: one line, not Beam's traceback.

In this process a worker's exception arrives as it is, with the stage's name behind it. A worker
process can only send text: a traceback, in whose last lines the exception is named. Next:
`runner` makes every pipeline one of these, `configuration.main` prints an `InputError`.
"""

import importlib
import logging
import re
from typing import Any

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult
from apache_beam.runners.worker import sdk_worker

from opencoder_jax.errors import InputError

_STAGE = re.compile(r" \[while running '[^']*'\]$")
_RAISED = re.compile(
    r"^((?:opencoder_jax|beam_pipelines)(?:\.\w+)+)\.(\w+): (.+?)(?: \[while running '[^']*'\])*$",
    re.MULTILINE,
)
_LOGGERS = ("apache_beam.runners.common", "apache_beam.runners.portability.local_job_service")


class ReportingPipeline(beam.Pipeline):
    """A pipeline that raises a worker's `InputError` as an `InputError`."""

    def run(self, *arguments: Any, **options: Any) -> PipelineResult:
        try:
            return super().run(*arguments, **options)
        except InputError as error:
            error.args = (_STAGE.sub("", str(error)),)
            raise
        except RuntimeError as error:
            told = input_error_in(str(error))
            if told is None:
                raise
            raise told from None


def input_error_in(text: str) -> InputError | None:
    """The `InputError` that a traceback ends with; None: it ends with something else."""
    found = _RAISED.findall(text)
    if not found:
        return None
    module, name, message = found[-1]
    try:
        raised = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    is_input = isinstance(raised, type) and issubclass(raised, InputError)
    return InputError(message) if is_input else None


def quiet_input_errors() -> None:
    """Keeps Beam from logging the tracebacks of what the command reports."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_no_input_error)


def quiet_worker() -> None:
    """The same for a worker process, which prints tracebacks itself; for a `DoFn.setup`."""
    sdk_worker.print = _print_unless_input_error  # type: ignore[attr-defined]


def _print_unless_input_error(*values: Any, **options: Any) -> None:
    if input_error_in(" ".join(map(str, values))) is None:
        print(*values, **options)


def _is_no_input_error(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], InputError):
        return False
    # A worker process' record, with its line ends escaped.
    text = record.getMessage()
    return "Traceback" not in text or input_error_in(text.replace("\\n", "\n")) is None
