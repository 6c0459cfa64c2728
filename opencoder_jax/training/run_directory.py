"""The model directory around its checkpoints and metrics: claimed, described, finished.

`run.json` says what a run's numbers depend on before its first step, `manifest.json` that it
is finished and what came out. Between the two a directory belongs to that run alone.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax import configuration, sharding
from opencoder_jax.data.shares import MIXTURE_NAME, SourceShare, shares_json, shares_table
from opencoder_jax.distributed import from_primary, gather, is_primary
from opencoder_jax.errors import InputError
from opencoder_jax.formats import manifest
from opencoder_jax.formats.tokenizer import copy_tokenizer, open_tokenizer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training import checkpoints, step
from opencoder_jax.training.checkpoints import CheckpointMetadata
from opencoder_jax.training.metrics import read_metrics

JOB = "train"


def claim(model_dir: str, identity: Mapping[str, Any]) -> bool:
    """Whether the run is finished already. An unfinished one has to be the same run.

    A `run.json` that is lost or damaged is made again from the latest checkpoint, which says
    what it is of, too.

    Raises:
      InputError: it is another run, the processes do not see one and the same folder, or it is
        in an object store.
    """
    if "://" in str(model_dir):
        raise InputError(
            f"model_dir {model_dir} is in an object store: checkpoints are moved into place by "
            "renaming folders, which a store cannot. Give a folder that all hosts share, e.g. on "
            "Filestore, or a bucket with hierarchical namespace mounted with gcsfuse"
        )
    done = from_primary(lambda: bool(manifest.already_done(model_dir, job=JOB, **identity)))
    path = Path(model_dir) / manifest.RUN_NAME
    if not done:
        there = from_primary(lambda: _recorded(path))
        if there is None and from_primary(lambda: bool(checkpoints.steps(model_dir))):
            there = _of_latest_checkpoint(model_dir)
        from_primary(lambda: _begin(model_dir, there, identity))
    blind = [index for index, sees in enumerate(gather(path.exists())) if not sees]
    if blind:
        raise InputError(
            f"processes {blind} do not see {path}, which process 0 wrote: model_dir has to be "
            "on a file system that all hosts share"
        )
    return done


def _recorded(path: Path) -> dict[str, Any] | None:
    """Config and inputs of a `run.json`; None where nothing can be made of it."""
    try:
        recorded = json.loads(path.read_bytes())
        return {"config": dict(recorded["config"]), "inputs": dict(recorded["inputs"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        print(f"{path} is damaged ({error})", file=sys.stderr)
        return None


def _of_latest_checkpoint(model_dir: str) -> dict[str, Any]:
    """The same of a checkpoint's last phase. All processes have to call it."""
    phase = checkpoints.read_metadata(model_dir).phases[-1:]
    if not phase or not {"config", "inputs"} <= phase[0].keys():
        raise InputError(
            f"{model_dir} holds checkpoints of no training (and no {manifest.RUN_NAME}); choose "
            "another model_dir"
        )
    return phase[0]


def _begin(model_dir: str, there: Mapping[str, Any] | None, identity: Mapping[str, Any]) -> None:
    if there is not None:
        manifest.check_same_work(model_dir, {"job": JOB, **there}, job=JOB, **identity)
    Path(model_dir).mkdir(parents=True, exist_ok=True)
    manifest.write_json(Path(model_dir) / manifest.RUN_NAME, identity)


def describe(
    model_dir: str,
    tokenizer_dir: str,
    model: TransformerConfig,
    placement: step.Placement,
    mixture: Sequence[SourceShare],
) -> None:
    """Writes what the directory says of itself, once for all hosts.

    That is `config.gin`, `model-info.txt`, `mixture.json` and a copy of the tokenizer.
    """
    if not is_primary():
        return
    configuration.write_config_gin(model_dir)
    rows = sharding.parameter_table(model, *placement)
    table = sharding.format_parameter_table(rows, placement.mesh)
    (Path(model_dir) / "model-info.txt").write_text(table)
    manifest.write_json(Path(model_dir) / MIXTURE_NAME, shares_json(mixture))
    if len(mixture) > 1:
        print(f"{model_dir}, tokens of this phase:\n{shares_table(mixture)}", file=sys.stderr)
    copy = Path(model_dir) / "tokenizer"
    copy.mkdir(exist_ok=True)
    copy_tokenizer(tokenizer_dir, copy)
    made_by = Path(tokenizer_dir) / manifest.MANIFEST_NAME
    if made_by.exists():
        shutil.copyfile(made_by, copy / made_by.name)


def finish(
    model_dir: str, identity: Mapping[str, Any], metadata: CheckpointMetadata, params: Any
) -> None:
    """Writes the manifest; its figures are what two runs of the same work have in common."""
    params_sha256 = checkpoints.params_sha256(params)
    if not is_primary():
        return
    train_series = read_metrics(Path(model_dir) / "train")
    heldout_series = read_metrics(Path(model_dir) / "heldout")
    counts = {
        "step": metadata.step,
        "tokens_by_source": metadata.tokens_by_source,
        "tokens_seen": sum(metadata.tokens_by_source.values()),
        "final_loss": _last(train_series, "loss_per_nonpadding_target_token"),
    }
    if metadata.spikes:
        counts["skipped_steps"] = sum(metadata.spikes["skipped"])
    if heldout_series:
        counts["heldout_loss"] = heldout_series[-1]["loss_per_nonpadding_target_token"]
    tokenizer = open_tokenizer(Path(model_dir) / "tokenizer").path
    files = {
        f"checkpoint_{metadata.step}/params": params_sha256,
        f"tokenizer/{tokenizer.name}": manifest.file_sha256(tokenizer),
        "train/metrics.jsonl without timing": _series_sha256(train_series),
        "heldout/metrics.jsonl without timing": _series_sha256(heldout_series),
    }
    manifest.write_manifest(model_dir, job=JOB, counts=counts, files=files, **identity)


def _last(series: list[dict[str, float]], name: str) -> float:
    """Of the last line that has it: a step that was skipped may have had no finite loss."""
    return next(line[name] for line in reversed(series) if name in line)


def _series_sha256(series: list[dict[str, float]]) -> str:
    timeless = [
        {name: value for name, value in line.items() if not name.startswith("timing/")}
        for line in series
    ]
    return hashlib.sha256(json.dumps(timeless, sort_keys=True).encode()).hexdigest()
