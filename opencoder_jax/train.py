"""Trains one phase: `python -m opencoder_jax.train --gin_file=pretrain/demo.gin ...`.

Pretraining, annealing and both SFT stages are this one function under the gin files of
`gin_configs/{pretrain,anneal,sft}`. A phase begins with fresh parameters, or with another
phase's: annealing goes on with its optimizer and step count, SFT takes the parameters.

`model_dir` looks as T5X leaves it, see docs/training.md. The same command on it again
resumes an unfinished run from its last sound checkpoint and does nothing on a finished
one; with other settings or data it is refused. Next: `training/loop.py`.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from opencoder_jax import configuration, sharding
from opencoder_jax.data.batches import BatchSource, DatasetConfig, check_fingerprint
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats import manifest
from opencoder_jax.formats.tokenizer import MODEL_NAME, Tokenizer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.timing import timed
from opencoder_jax.training import checkpoints, loop, step
from opencoder_jax.training.checkpoints import (
    CheckpointMetadata,
    RestoreCheckpointConfig,
    SaveCheckpointConfig,
)
from opencoder_jax.training.losses import LossSums
from opencoder_jax.training.metrics import MetricsWriter, read_metrics
from opencoder_jax.training.optimizers import AdamW
from opencoder_jax.training.schedules import Schedule

# TensorFlow comes with seqio and greets on stderr; to be said before it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

JOB = "train"
# Of a model, how it is computed and not what it is: a phase may change these.
_COMPUTE_FIELDS = ("dtype", "remat_policy", "max_length")


def train(
    *,
    model: TransformerConfig,
    model_dir: str,
    tokenizer_dir: str,
    train_dataset_cfg: DatasetConfig,
    train_eval_dataset_cfg: DatasetConfig | None = None,
    train_steps: int,
    schedule: Schedule,
    optimizer: AdamW,
    z_loss: float,
    random_seed: int,
    mesh: sharding.MeshConfig,
    save_checkpoint_cfg: SaveCheckpointConfig,
    restore_checkpoint_cfg: RestoreCheckpointConfig | None = None,
    num_microbatches: int = 1,
    loss_chunk_length: int = 512,
    stats_period: int = 1,
    eval_period: int = 0,
    eval_steps: int = 0,
) -> None:
    """Trains one phase and leaves a model directory.

    Args:
      model: dimensions of the model.
      model_dir: where checkpoints, metrics and the manifest go.
      tokenizer_dir: the tokenizer that the data was packed with; it is copied.
      train_dataset_cfg: what to train on.
      train_eval_dataset_cfg: held-out sequences; None for no held-out loss.
      train_steps: steps of this phase.
      schedule: learning rate by step within the phase.
      optimizer: AdamW's hyper-parameters.
      z_loss: factor of the squared log of the softmax's denominator.
      random_seed: of the initial parameters; the data's is in `train_dataset_cfg`.
      mesh: how the devices are laid out.
      save_checkpoint_cfg: when to save, how many to keep.
      restore_checkpoint_cfg: the checkpoint that the phase starts from; None to start anew.
      num_microbatches: parts of a batch, one after the other, where memory is short.
      loss_chunk_length: positions whose logits are in memory at a time.
      stats_period: steps between lines of metrics.
      eval_period: steps between held-out losses; there is one at the end too.
      eval_steps: held-out batches in each.

    Raises:
      InputError: settings, data, tokenizer or checkpoints do not fit together.
    """
    require_at_least(
        1,
        train_steps=train_steps,
        num_microbatches=num_microbatches,
        loss_chunk_length=loss_chunk_length,
    )
    if save_checkpoint_cfg.keep is not None:
        require_at_least(1, keep_checkpoints=save_checkpoint_cfg.keep)
    require_at_least(
        0,
        save_period=save_checkpoint_cfg.period,
        stats_period=stats_period,
        eval_period=eval_period,
        eval_steps=eval_steps,
        z_loss=z_loss,
    )
    # Before anything else asks JAX for its devices.
    placement = step.Placement(sharding.make_mesh(mesh))
    tokenizer = _open_tokenizer(tokenizer_dir, model)
    source = _open_source(train_dataset_cfg, tokenizer)
    heldout = None
    if train_eval_dataset_cfg and eval_steps:
        heldout = _open_source(train_eval_dataset_cfg, tokenizer)
    start = _Start.read(restore_checkpoint_cfg, model, tokenizer)
    config = step.StepConfig(
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        first_step=start.first_step,
        z_loss=z_loss,
        loss_chunk_length=loss_chunk_length,
        num_microbatches=num_microbatches,
    )
    loop_config = loop.LoopConfig(
        last_step=start.first_step + train_steps,
        batch_size=train_dataset_cfg.batch_size,
        sequence_length=source.fingerprint["sequence_length"],
        save_period=save_checkpoint_cfg.period,
        stats_period=stats_period,
        eval_period=eval_period,
    )
    step.check_sizes(config, placement, loop_config.batch_size, loop_config.sequence_length)

    # What the numbers depend on. Mesh, microbatches and periods may differ on resuming.
    identity = {
        "config": _flat(
            {
                "model": model,
                "train_steps": train_steps,
                "first_step": start.first_step,
                "schedule": schedule,
                "optimizer": optimizer,
                "z_loss": z_loss,
                "random_seed": random_seed,
                "restore_optimizer": start.restore_optimizer,
            }
        ),
        "inputs": {
            **_flat({"data": source.fingerprint}),
            "tokenizer": tokenizer.fingerprint,
            "initial_checkpoint": start.fingerprint,
        },
    }
    if _claim(model_dir, identity):
        print(f"{model_dir} is finished: nothing to do", file=sys.stderr)
        return
    _describe(model_dir, tokenizer_dir, model, placement)
    metadata = CheckpointMetadata(
        step=start.first_step,
        tokens_by_source=start.tokens_by_source,
        model=model.to_json(),
        tokenizer_fingerprint=tokenizer.fingerprint,
        data=source.fingerprint,
        phases=[*start.phases, identity],
    )

    with timed(model_dir), placement.activate():
        state, metadata = _restore_or_init(
            model_dir, config, placement, random_seed, start, metadata
        )
        functions = loop.Functions(
            put_batch=functools.partial(step.put_batch, placement),
            train_step=step.make_train_step(config, placement),
            heldout_metrics=_heldout_metrics(config, placement, heldout, eval_steps),
        )
        with _writers(model_dir, save_checkpoint_cfg, metadata.step) as writers:
            state, metadata = loop.run(
                loop_config, state, metadata, source, functions, writers, Path(model_dir).name
            )
    _finish(model_dir, identity, metadata, state.params)


@dataclasses.dataclass(frozen=True)
class _Start:
    """Where a phase begins: nowhere, or at a checkpoint of another model directory."""

    model_dir: Path | None = None
    step: int | None = None
    restore_optimizer: bool = False
    first_step: int = 0
    tokens_by_source: dict[str, int] = dataclasses.field(default_factory=dict)
    phases: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    fingerprint: str = "none"

    @classmethod
    def read(
        cls,
        restore: RestoreCheckpointConfig | None,
        model: TransformerConfig,
        tokenizer: Tokenizer,
    ) -> "_Start":
        if restore is None:
            return cls()
        model_dir, wanted = restore.locate()
        if wanted is None:
            manifest.refuse_unfinished_training(model_dir)
            wanted = max(checkpoints.steps(model_dir), default=None)
        metadata = checkpoints.read_metadata(model_dir, wanted)
        here = model.to_json()
        different = [
            f"{name}: there {metadata.model.get(name)!r}, here {value!r}"
            for name, value in here.items()
            if name not in _COMPUTE_FIELDS and metadata.model.get(name) != value
        ]
        if different:
            raise InputError(
                f"{restore.path} holds another model than MODEL:\n  " + "\n  ".join(different)
            )
        if metadata.tokenizer_fingerprint != tokenizer.fingerprint:
            raise InputError(
                f"{restore.path} was trained with tokenizer {metadata.tokenizer_fingerprint}, "
                f"{tokenizer.path} is {tokenizer.fingerprint}: its token ids mean other things"
            )
        return cls(
            model_dir=model_dir,
            step=metadata.step,
            restore_optimizer=restore.restore_optimizer,
            first_step=metadata.step if restore.restore_optimizer else 0,
            tokens_by_source=metadata.tokens_by_source,
            phases=metadata.phases,
            fingerprint=manifest.fingerprint(dataclasses.asdict(metadata)),
        )


def _open_tokenizer(tokenizer_dir: str, model: TransformerConfig) -> Tokenizer:
    tokenizer = Tokenizer(tokenizer_dir)
    if tokenizer.vocab_size > model.vocab_size:
        raise InputError(
            f"{tokenizer.path} has {tokenizer.vocab_size} tokens, the model's vocab_size is "
            f"{model.vocab_size}"
        )
    return tokenizer


def _open_source(config: DatasetConfig, tokenizer: Tokenizer) -> BatchSource:
    source = BatchSource(config)
    if source.tokenizer_fingerprint != tokenizer.fingerprint:
        raise InputError(
            f"{config.packed_dir} was packed with tokenizer {source.tokenizer_fingerprint}, "
            f"{tokenizer.path} is {tokenizer.fingerprint}: pack the data again with "
            "`python -m beam_pipelines.pack`, or give the tokenizer that it was packed with"
        )
    return source


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    return manifest.flattened(configuration.canonical(value))


def _claim(model_dir: str, identity: Mapping[str, Any]) -> bool:
    """Whether the run is finished already. An unfinished one has to be the same run."""
    if manifest.already_done(model_dir, job=JOB, **identity):
        return True
    folder = Path(model_dir)
    path = folder / manifest.RUN_NAME
    if path.exists():
        try:
            there = {"job": JOB, **json.loads(path.read_text())}
            manifest.check_same_work(model_dir, there, job=JOB, **identity)
        except (json.JSONDecodeError, KeyError) as error:
            raise InputError(f"{path} is damaged ({error}); remove {model_dir}") from error
    elif checkpoints.steps(model_dir):
        raise InputError(
            f"{model_dir} holds checkpoints but no {manifest.RUN_NAME}, so nothing says what "
            "they are of; choose another model_dir"
        )
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write_json(path, identity)
    return False


def _describe(
    model_dir: str, tokenizer_dir: str, model: TransformerConfig, placement: step.Placement
) -> None:
    configuration.write_config_gin(model_dir)
    rows = sharding.parameter_table(model, *placement)
    table = sharding.format_parameter_table(rows, placement.mesh)
    (Path(model_dir) / "model-info.txt").write_text(table)
    copy = Path(model_dir) / "tokenizer"
    copy.mkdir(exist_ok=True)
    for name in (MODEL_NAME, manifest.MANIFEST_NAME):
        original = Path(tokenizer_dir) / name
        if original.exists():
            shutil.copyfile(original, copy / name)


def _restore_or_init(
    model_dir: str,
    config: step.StepConfig,
    placement: step.Placement,
    seed: int,
    start: _Start,
    metadata: CheckpointMetadata,
) -> tuple[step.TrainState, CheckpointMetadata]:
    """The state to go on from: this directory's, the initial checkpoint's, or a fresh one."""
    abstract = step.abstract_state(config, placement)
    saved = checkpoints.restore_latest(model_dir, abstract.params, abstract.opt_state)
    if saved:
        check_fingerprint(saved.metadata.data, metadata.data)
        state = step.state_at(placement, saved.metadata.step, saved.params, saved.opt_state)
        return state, saved.metadata
    if start.model_dir is None:
        return step.init_state(config, placement, seed), metadata
    if start.restore_optimizer:
        initial = checkpoints.restore(
            start.model_dir, start.step, abstract.params, abstract.opt_state
        )
        state = step.state_at(placement, config.first_step, initial.params, initial.opt_state)
        return state, metadata
    initial = checkpoints.restore(start.model_dir, start.step, abstract.params)
    return step.fresh_state(config, placement, initial.params), metadata


def _heldout_metrics(
    config: step.StepConfig,
    placement: step.Placement,
    source: BatchSource | None,
    eval_steps: int,
) -> Callable[[Any], dict[str, float]] | None:
    """Parameters to the mean loss over the same `eval_steps` held-out batches each time."""
    if source is None:
        return None
    eval_step = step.make_eval_step(config, placement)

    def heldout_metrics(params: Any) -> dict[str, float]:
        batches = (step.put_batch(placement, source.batch(k)) for k in range(eval_steps))
        sums = [eval_step(params, batch) for batch in batches]
        total = LossSums(*[sum(parts[1:], start=parts[0]) for parts in zip(*sums, strict=True)])
        metrics = step.loss_metrics(config, total)
        return {name: float(value) for name, value in metrics.items()}

    return heldout_metrics


@contextlib.contextmanager
def _writers(
    model_dir: str, save: SaveCheckpointConfig, resume_step: int
) -> Iterator[loop.Writers]:
    with (
        checkpoints.CheckpointWriter(model_dir, save.keep) as checkpoint_writer,
        MetricsWriter(Path(model_dir) / "train", resume_step) as train,
        MetricsWriter(Path(model_dir) / "heldout", resume_step) as heldout,
    ):
        yield loop.Writers(checkpoint_writer, train, heldout)


def _finish(
    model_dir: str, identity: Mapping[str, Any], metadata: CheckpointMetadata, params: Any
) -> None:
    """Writes the manifest; its figures are what two runs of the same work have in common."""
    train_series = read_metrics(Path(model_dir) / "train")
    heldout_series = read_metrics(Path(model_dir) / "heldout")
    counts = {
        "step": metadata.step,
        "tokens_by_source": metadata.tokens_by_source,
        "tokens_seen": sum(metadata.tokens_by_source.values()),
        "final_loss": train_series[-1]["loss_per_nonpadding_target_token"],
    }
    if heldout_series:
        counts["heldout_loss"] = heldout_series[-1]["loss_per_nonpadding_target_token"]
    files = {
        f"checkpoint_{metadata.step}/params": checkpoints.params_sha256(params),
        f"tokenizer/{MODEL_NAME}": manifest.file_sha256(Path(model_dir) / "tokenizer" / MODEL_NAME),
        "train/metrics.jsonl without timing": _series_sha256(train_series),
        "heldout/metrics.jsonl without timing": _series_sha256(heldout_series),
    }
    manifest.write_manifest(model_dir, job=JOB, counts=counts, files=files, **identity)


def _series_sha256(series: list[dict[str, float]]) -> str:
    timeless = [
        {name: value for name, value in line.items() if not name.startswith("timing/")}
        for line in series
    ]
    return hashlib.sha256(json.dumps(timeless, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(configuration.main(train, default_gin_files=["pretrain/demo.gin"]))
