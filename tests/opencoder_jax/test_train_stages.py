"""One run over stages of data: gin_configs/pretrain/demo_wsd.gin, with less of everything."""

import pytest

from opencoder_jax import configuration
from opencoder_jax.train import train
from opencoder_jax.training.metrics import read_metrics
from tests import packed_example
from tests.opencoder_jax.data.test_stages import half_length_dir
from tests.opencoder_jax.small_run import model_flags

S = packed_example.SEQUENCE_LENGTH
PRETRAIN, ANNEAL = 4, 4


def run(model_dir, *more):
    flags = [
        "--gin_file=pretrain/demo_wsd.gin",
        f"--gin.MODEL_DIR={model_dir}",
        f"--gin.PACKED_DIR={packed_example.packed_dir()}",
        f"--gin.TOKENIZER_DIR={packed_example.tokenizer_dir()}",
        f"--gin.TASK_FEATURE_LENGTHS={{'targets': {S}}}",
        f"--gin.PRETRAIN_STEPS={PRETRAIN}",
        f"--gin.ANNEAL_STEPS={ANNEAL}",
        f"--gin.TRAIN_STEPS={PRETRAIN + ANNEAL}",
        *model_flags(),
        "--gin.sharding.MeshConfig.virtual_cpu_devices=8",
        "--gin.sharding.MeshConfig.fsdp=4",
        "--gin.sharding.MeshConfig.data=2",
        "--gin.BATCH_SIZE=8",
        "--gin.checkpoints.SaveCheckpointConfig.period=3",
        "--gin.schedules.WarmupStable.warmup_steps=1",
        "--gin.train.eval_steps=0",
        "--gin.mixtures.register_mixture.name=stages_in_tests",
        "--gin.mixtures.register_mixture.rates={'refinecode': 1, 'algorithmic_corpus': 1}",
        *more,
    ]
    return configuration.main(train, flags)


@pytest.fixture(scope="module")
def pretrained_and_annealed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "wsd"
    assert run(folder) == 0
    return folder


def test_one_run_changes_mixture_and_learning_rate_at_a_step(pretrained_and_annealed):
    lines = read_metrics(pretrained_and_annealed / "train")

    assert [line["step"] for line in lines] == list(range(1, 9))
    taken = [line.get("tokens_seen/algorithmic_corpus", 0) for line in lines]
    assert taken == [0] * PRETRAIN + [4 * S, 8 * S, 12 * S, 16 * S]
    assert lines[-1]["tokens_seen"] == 8 * 8 * S
    assert lines[-1]["epochs/algorithmic_corpus"] > 0
    rates = [line["learning_rate"] for line in lines]
    assert rates[:PRETRAIN] == [rates[0]] * PRETRAIN
    assert rates[PRETRAIN:] == sorted(rates[PRETRAIN:], reverse=True)
    assert rates[-1] < rates[0] / 5


@pytest.mark.slow
def test_a_stage_that_has_not_begun_may_be_of_another_length_in_another_directory(
    pretrained_and_annealed, tmp_path, capsys
):
    """Steps 4 to 6: one more of pretraining, then twice as many sequences of half the length."""
    more = [
        f"--gin.INITIAL_CHECKPOINT_PATH='{pretrained_and_annealed}/checkpoint_3'",
        "--gin_file=train/continue.gin",
        "--gin.schedules.WarmupStable.warmup_steps=0",
        "--gin.ANNEAL_STEPS=2",
        "--gin.TRAIN_STEPS=3",
        "--gin.mixtures.register_mixture.name=other_stages_in_tests",
        "--gin.mixtures.register_mixture.rates={'refinecode': 1}",
        f"--gin.anneal/batches.DatasetConfig.packed_dir='{half_length_dir()}'",
        f"--gin.anneal/batches.DatasetConfig.task_feature_lengths={{'targets': {S // 2}}}",
        "--gin.anneal/batches.DatasetConfig.batch_size=16",
    ]
    assert run(tmp_path / "shorter", *more) == 0

    lines = read_metrics(tmp_path / "shorter" / "train")
    there = read_metrics(pretrained_and_annealed / "train")
    assert [line["step"] for line in lines] == [4, 5, 6]
    assert lines[0]["loss"] == there[3]["loss"]
    assert [line["tokens_seen"] for line in lines] == [32 * S, 40 * S, 48 * S]
    capsys.readouterr()
    assert run(tmp_path / "other", *more, "--gin.BATCH_SIZE=16") == 2
    refused = capsys.readouterr().err
    assert "the training data up to step 3 is not what the checkpoint was trained on" in refused
    assert "stage 1.batch_size: checkpoint 8, now 16" in refused


def test_a_run_that_goes_beyond_its_stages_is_refused(tmp_path, capsys):
    assert run(tmp_path / "beyond", "--gin.TRAIN_STEPS=9") == 2
    assert "have 8 steps, the run goes to step 9" in capsys.readouterr().err
