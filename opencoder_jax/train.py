"""Trains one phase: `python -m opencoder_jax.train --gin_file=pretrain/demo.gin ...`.

Pretraining, annealing and both SFT stages are this one function under the gin files of
`gin_configs/{pretrain,anneal,sft}`. A phase begins with fresh parameters, or with another
phase's: annealing goes on with its optimizer and step count, SFT takes the parameters.

`model_dir` looks as T5X leaves it, see docs/training.md. The same command on it again
resumes an unfinished run from its last sound checkpoint and does nothing on a finished
one; with other settings or data it is refused. Next: `training/loop.py`.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from opencoder_jax import configuration, sharding
from opencoder_jax.data.batches import BatchSource, DatasetConfig, DatasetPlan, plan_shapes
from opencoder_jax.data.fingerprints import check_fingerprint
from opencoder_jax.data.shares import planned_shares
from opencoder_jax.distributed import DistributedConfig, is_primary, joins, run
from opencoder_jax.errors import InputError, require_at_least, require_positive
from opencoder_jax.formats import manifest
from opencoder_jax.formats.tokenizer import Tokenizer
from opencoder_jax.host_memory import keep_heap
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.loading import open_tokenizer_of
from opencoder_jax.timing import timed
from opencoder_jax.training import (
    checkpoints,
    compilation_cache,
    flops,
    goodput,
    loop,
    profiling,
    run_directory,
    step,
    wandb_metrics,
)
from opencoder_jax.training.checkpoints import (
    CheckpointMetadata,
    RestoreCheckpointConfig,
    SaveCheckpointConfig,
)
from opencoder_jax.training.facts import training_facts
from opencoder_jax.training.heldout import heldout_metrics, open_heldout
from opencoder_jax.training.metrics import MetricsWriter, Mirror, SilentMetrics, open_metrics
from opencoder_jax.training.optimizers import Optimizer
from opencoder_jax.training.profiling import ProfileConfig
from opencoder_jax.training.recorder import RecorderConfig
from opencoder_jax.training.schedules import Schedule
from opencoder_jax.training.spikes import SpikeConfig
from opencoder_jax.training.start import PhaseStart, restore_or_init
from opencoder_jax.training.wandb_metrics import WandbConfig

# TensorFlow comes with seqio and greets on stderr; to be said before it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

_Metrics = MetricsWriter | SilentMetrics
_Files = tuple[checkpoints.CheckpointWriter, _Metrics, _Metrics]


@joins
def train(
    *,
    model: TransformerConfig,
    model_dir: str,
    tokenizer_dir: str,
    train_dataset_cfg: DatasetPlan,
    train_eval_dataset_cfg: DatasetConfig | None = None,
    train_steps: int,
    schedule: Schedule,
    optimizer: Optimizer,
    z_loss: float,
    random_seed: int,
    mesh: sharding.MeshConfig,
    distributed: DistributedConfig | None = None,
    save_checkpoint_cfg: SaveCheckpointConfig,
    restore_checkpoint_cfg: RestoreCheckpointConfig | None = None,
    spikes: SpikeConfig | None = None,
    num_microbatches: int = 1,
    loss_chunk_length: int = 512,
    loss_vocab_blocks: int = 1,
    stats_period: int = 1,
    eval_period: int = 0,
    eval_steps: int = 0,
    keep_compiled: bool = True,
    num_prefetch_processes: int = 0,
    peak_flops_per_device: float | None = None,
    wandb: WandbConfig | None = None,
    profile: ProfileConfig | None = None,
) -> None:
    """Trains one phase and leaves a model directory.

    Args:
      model: dimensions of the model.
      model_dir: where checkpoints, metrics and the manifest go.
      tokenizer_dir: the tokenizer that the data was packed with; it is copied.
      train_dataset_cfg: what to train on: a DatasetConfig, or a list of DatasetStages.
      train_eval_dataset_cfg: held-out sequences; None for no held-out loss.
      train_steps: steps of this phase.
      schedule: learning rate by step within the phase.
      optimizer: AdamW or Muon.
      z_loss: factor of the squared log of the softmax's denominator.
      random_seed: of the initial parameters; the data's is in `train_dataset_cfg`.
      mesh: how the devices are laid out.
      distributed: how the processes of several hosts find each other; None: there is one.
      save_checkpoint_cfg: when to save, how many to keep.
      restore_checkpoint_cfg: the checkpoint that the phase starts from; None to start anew.
      spikes: which steps are skipped; None for none, then a loss that is no number ends the run.
      num_microbatches: parts of a batch, one after the other, where memory is short.
      loss_chunk_length: positions whose logits are in memory at a time.
      loss_vocab_blocks: 1, or parts of the vocabulary whose logits are in memory at a time, then
        of all positions: less memory, a little more to compute.
      stats_period: steps between lines of metrics.
      eval_period: steps between held-out losses; there is one at the end too.
      eval_steps: held-out batches in each, always the same.
      keep_compiled: keep compiled programs in `model_dir` for a later start.
      num_prefetch_processes: processes that prepare batches; 0 for threads of this one.
      peak_flops_per_device: what MFU is a share of, operations a second; None takes the
        chip's bf16 peak, or gives no MFU where `training/flops.py` does not know the chip.
      wandb: where Weights & Biases shows the metrics too; None for nowhere.
      profile: steps to trace; None for three steps whenever SIGUSR1 asks for it.

    Raises:
      InputError: settings, data, tokenizer or checkpoints do not fit together.
    """
    if wandb:
        wandb_metrics.import_wandb()
    require_at_least(1, train_steps=train_steps)
    require_at_least(
        0,
        stats_period=stats_period,
        eval_period=eval_period,
        eval_steps=eval_steps,
        num_prefetch_processes=num_prefetch_processes,
    )
    # Before anything else asks JAX for its devices.
    placement = step.Placement(sharding.make_mesh(mesh))
    tokenizer = open_tokenizer_of(tokenizer_dir, model)
    source = BatchSource(
        train_dataset_cfg, rows=lambda batch_size: sharding.local_rows(batch_size, *placement)
    )
    _check_packed_with(tokenizer, source.packed_dir, source.tokenizer_fingerprint)
    heldout = None
    if train_eval_dataset_cfg and eval_steps:
        heldout = open_heldout(train_eval_dataset_cfg, placement)
        packed_with = heldout.fingerprint["tokenizer"]
        _check_packed_with(tokenizer, train_eval_dataset_cfg.packed_dir, packed_with)
    start = PhaseStart.read(restore_checkpoint_cfg, model, tokenizer)
    start.check_optimizer(optimizer)
    config = step.StepConfig(
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        first_step=start.first_step,
        z_loss=z_loss,
        loss_chunk_length=loss_chunk_length,
        loss_vocab_blocks=loss_vocab_blocks,
        num_microbatches=num_microbatches,
        spikes=spikes,
        sources=source.source_names,
    )
    loop_config = loop.LoopConfig(
        last_step=start.first_step + train_steps,
        save=save_checkpoint_cfg,
        stats_period=stats_period,
        eval_period=eval_period,
        num_prefetch_processes=num_prefetch_processes,
        figures=RecorderConfig(
            max_skipped_in_a_row=spikes.max_in_a_row if spikes else None,
            flops_per_token=lambda length: flops.token_flops(model, length).total,
            peak_flops=_peak_flops(placement, peak_flops_per_device),
        ),
    )
    for shape in plan_shapes(train_dataset_cfg):
        step.check_sizes(config, placement, *shape)
    _check_stages(source, loop_config.last_step, start)

    # What the numbers depend on. What changes them by rounding alone may differ on resuming (mesh,
    # microbatches, chunks of the loss, remat policy, attention's kernel), and periods may.
    identity = {
        "config": _flat(
            {
                "model": model.what_is_learned(),
                "train_steps": train_steps,
                "first_step": start.first_step,
                "schedule": schedule,
                "optimizer": optimizer,
                "z_loss": z_loss,
                "spikes": {"window": spikes.window, "sigmas": spikes.sigmas} if spikes else None,
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
    if run_directory.claim(model_dir, identity):
        print(f"{model_dir} is finished: nothing to do", file=sys.stderr)
        return
    mixture = planned_shares(
        source, start.first_step, loop_config.last_step, start.tokens_by_source
    )
    run_directory.describe(model_dir, tokenizer_dir, model, placement, mixture)
    metadata = CheckpointMetadata(
        step=start.first_step,
        tokens_by_source=start.tokens_by_source,
        model=model.to_json(),
        tokenizer_fingerprint=tokenizer.fingerprint,
        data=source.fingerprint,
        phases=[*start.phases, identity],
    )

    with (
        _timed_once(model_dir) as figures,
        placement.activate(),
        profiling.profiler(profile, model_dir) as profiler,
        compilation_cache.kept_in(model_dir) if keep_compiled else _not_kept() as sealing,
    ):
        stopwatch = goodput.Stopwatch(
            model_dir, figures.get("startup_seconds", 0.0), write=is_primary()
        )
        with stopwatch.lost("restore"):
            state, metadata = restore_or_init(
                model_dir, config, placement, random_seed, start, metadata
            )
        evaluate = heldout_metrics(config, placement, heldout, eval_steps) if heldout else None
        functions = loop.Functions(
            put_batch=functools.partial(step.put_batch, placement),
            train_step=sealing(step.make_train_step(config, placement)),
            heldout_metrics=evaluate,
        )
        with (
            _mirror(wandb, model_dir, identity["config"]) as mirror,
            _writers(model_dir, save_checkpoint_cfg, metadata.step, mirror) as files,
        ):
            writers = loop.Writers(*files, stopwatch, profiler)
            state, metadata = loop.run(
                loop_config, state, metadata, source, functions, writers, Path(model_dir).name
            )
        account = stopwatch.end(metadata.step)
        figures["goodput"] = account.goodput or 0.0
        if is_primary():
            print(account, file=sys.stderr)
    run_directory.finish(model_dir, identity, metadata, state.params)


def _check_packed_with(tokenizer: Tokenizer, packed_dir: str, fingerprint: str) -> None:
    if fingerprint != tokenizer.fingerprint:
        raise InputError(
            f"{packed_dir} was packed with tokenizer {fingerprint}, "
            f"{tokenizer.path} is {tokenizer.fingerprint}: pack the data again with "
            "`python -m beam_pipelines.pack`, or give the tokenizer that it was packed with"
        )


def _check_stages(source: BatchSource, last_step: int, start: PhaseStart) -> None:
    """Stages lie on the run's one axis of steps, that of the checkpoint it starts from included."""
    if source.num_steps is None:
        return
    if last_step > source.num_steps:
        raise InputError(
            f"the stages of train_dataset_cfg have {source.num_steps} steps, the run goes to step "
            f"{last_step}; lengthen the last stage, or lower TRAIN_STEPS"
        )
    if start.first_step:
        check_fingerprint(start.data, source.fingerprint, step=start.first_step)


def _peak_flops(placement: step.Placement, per_device: float | None) -> float | None:
    """Of all devices together; None where no one knows it."""
    if per_device is not None:
        require_positive(peak_flops_per_device=per_device)
    else:
        per_device = flops.peak_flops(jax.devices()[0].device_kind)
    return per_device * placement.mesh.size if per_device else None


def _timed_once(model_dir: str) -> contextlib.AbstractContextManager[dict[str, float]]:
    """`timed` in the process that writes what is written once."""
    return timed(model_dir) if is_primary() else contextlib.nullcontext({})


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    return manifest.flattened(configuration.canonical(value))


@contextlib.contextmanager
def _writers(
    model_dir: str, save: SaveCheckpointConfig, resume_step: int, mirror: Mirror | None
) -> Iterator[_Files]:
    with (
        checkpoints.CheckpointWriter(model_dir, save.keep, save.keep_period) as checkpoint_writer,
        open_metrics(Path(model_dir) / "train", resume_step, mirror) as train,
        open_metrics(Path(model_dir) / "heldout", resume_step, mirror) as heldout,
    ):
        yield checkpoint_writer, train, heldout


@contextlib.contextmanager
def _not_kept() -> Iterator[Callable[[Callable], Callable]]:
    yield lambda function: function


@contextlib.contextmanager
def _mirror(
    config: WandbConfig | None, model_dir: str, settings: Mapping[str, Any]
) -> Iterator[Mirror | None]:
    """Where lines of metrics go besides the model directory, on the process that writes them."""
    if config is None or not is_primary():
        yield None
        return
    with wandb_metrics.open_wandb(config, model_dir, settings) as run_there:
        yield run_there.write


# Where a run is, what it shows and how it is kept; `identity` has none of them.
# When checkpoints are saved is no such thing: another phase may start from one of them.
_INCIDENTAL = (
    *("distributed", "SaveCheckpointConfig.period_minutes", "stats_period", "keep_compiled"),
    *("num_prefetch_processes", "peak_flops_per_device", "wandb", "profile"),
)

if __name__ == "__main__":
    keep_heap()
    raise SystemExit(
        run(
            lambda: configuration.main(
                train,
                default_gin_files=["pretrain/demo.gin"],
                incidental=_INCIDENTAL,
                facts=training_facts,
            )
        )
    )
