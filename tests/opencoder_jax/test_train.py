"""The command: phases, resuming, and what it refuses. All on real files, packed by the job."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opencoder_jax import configuration
from opencoder_jax.evaluation.bits_per_byte import BitsPerByte
from opencoder_jax.model.loading import load_model
from opencoder_jax.train import train
from opencoder_jax.train_tokenizer import train_tokenizer
from opencoder_jax.training import checkpoints, loop
from opencoder_jax.training.metrics import read_metrics
from opencoder_jax.watch.run_state import Watcher
from tests import packed_example
from tests.opencoder_jax import small_run

STEPS = 12
# So narrow that some healthy steps are skipped, to see that resuming skips them again.
NARROW = ("--gin.spikes.SpikeConfig.window=4", "--gin.spikes.SpikeConfig.sigmas=1.5")
# Until a signal ends it.
LONG = ("--gin.TRAIN_STEPS=100000", "--gin.train.eval_period=0")


def _flags(model_dir: Path, *more: str, gin_file: str = "pretrain/demo.gin") -> list[str]:
    # A dozen steps have to learn something, whatever rate suits the demo.
    rate = ["--gin.schedules.WarmupStable.peak=0.003"] if gin_file.startswith("pretrain/") else []
    return [
        f"--gin_file={gin_file}",
        f"--gin.MODEL_DIR={model_dir}",
        f"--gin.PACKED_DIR={packed_example.packed_dir()}",
        f"--gin.TOKENIZER_DIR={packed_example.tokenizer_dir()}",
        f"--gin.TASK_FEATURE_LENGTHS={{'targets': {packed_example.SEQUENCE_LENGTH}}}",
        "--gin.train.peak_flops_per_device=1e9",
        *small_run.model_flags(),
        "--gin.sharding.MeshConfig.virtual_cpu_devices=8",
        "--gin.sharding.MeshConfig.fsdp=4",
        "--gin.sharding.MeshConfig.data=2",
        "--gin.BATCH_SIZE=8",
        "--gin.checkpoints.SaveCheckpointConfig.period=4",
        "--gin.train.eval_period=6",
        "--gin.train.eval_steps=2",
        f"--gin.TRAIN_STEPS={STEPS}",
        *rate,
        *([] if "--gin.train.spikes=None" in more else NARROW),
        *more,
    ]


def _run(model_dir: Path, *more: str, gin_file: str = "pretrain/demo.gin") -> int:
    """What the command line does."""
    return configuration.main(train, _flags(model_dir, *more, gin_file=gin_file))


def _manifest(model_dir: Path) -> dict:
    return json.loads((model_dir / "manifest.json").read_text())


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "pretrain"
    assert _run(folder) == 0
    return folder


def test_a_run_killed_and_resumed_in_another_process_equals_an_uninterrupted_one(
    pretrained, tmp_path
):
    model_dir = tmp_path / "killed"
    command = [sys.executable, "-m", "opencoder_jax.train", *_flags(model_dir)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    # Some step past the first checkpoint; which one depends on how fast the machine is.
    while not checkpoints.steps(model_dir) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watcher = Watcher(str(model_dir))
    assert watcher.look().status == "training"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (model_dir / "manifest.json").exists()
    killed = watcher.look()
    assert (killed.status, killed.last_step) == ("stopped", STEPS)

    # Who prepares its batches makes no difference either.
    assert _run(model_dir, "--gin.train.num_prefetch_processes=1") == 0
    assert _manifest(model_dir) == _manifest(pretrained)
    finished = watcher.look()
    assert (finished.status, finished.step) == ("finished", STEPS)
    assert finished.account.processes == 2
    assert finished.train == read_metrics(model_dir / "train")


def test_a_shard_that_is_damaged_under_a_run_stops_it_and_brought_back_lets_it_go_on(
    pretrained, tmp_path, capsys
):
    packed = tmp_path / "packed"
    shutil.copytree(packed_example.packed_dir(), packed)
    shards = sorted((packed / "refinecode").glob("train-*"))
    sound = [shard.read_bytes() for shard in shards]
    for shard, content in zip(shards, sound, strict=True):
        shard.write_bytes(content[:20_000] + bytes(80_000) + content[100_000:])
    model_dir = tmp_path / "damaged"

    assert _run(model_dir, f"--gin.PACKED_DIR={packed}") == 2

    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(r"error: .*/train-0000\d-of-00003\.arrayrecord: record \d+ is dam", message)
    assert not (model_dir / "manifest.json").exists()
    for shard, content in zip(shards, sound, strict=True):
        shard.write_bytes(content)
    assert _run(model_dir, f"--gin.PACKED_DIR={packed}") == 0
    assert _manifest(model_dir) == _manifest(pretrained)


def test_the_model_directory_is_laid_out_as_t5x_lays_it_out(pretrained):
    names = {path.name for path in pretrained.iterdir()}
    assert {
        "config.gin",
        "model-info.txt",
        "checkpoint_4",
        "checkpoint_8",
        "checkpoint_12",
    } <= names
    assert {"train", "tokenizer", "manifest.json", "timing.json"} <= names
    lines = read_metrics(pretrained / "train")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert {
        "loss",
        "loss_per_nonpadding_target_token",
        "accuracy",
        "learning_rate",
        "learning/grad_norm",
        "timing/seqs_per_second",
        "timing/target_tokens_per_second",
        "tokens_seen/refinecode",
        "epochs/refinecode",
        "loss_per_nonpadding_target_token/refinecode",
        "skipped_steps",
        "timing/mfu",
    } <= set(lines[-1])
    assert 0 < _manifest(pretrained)["counts"]["skipped_steps"] < STEPS - 3
    assert 0 < lines[-1]["timing/goodput"] < 1
    assert (
        _manifest(pretrained)["counts"]["final_loss"]
        == (lines[-1]["loss_per_nonpadding_target_token"])
    )


def test_bits_per_byte_in_the_loop_are_those_of_the_evaluation(pretrained):
    last = read_metrics(pretrained / "heldout")[-1]
    task = BitsPerByte(str(packed_example.packed_dir()), ["refinecode"], max_sequences=16)
    result = task.run(load_model(str(pretrained)), pretrained)["sets"]["refinecode"]
    assert last["bits_per_byte"] == pytest.approx(result["total"]["bits_per_byte"], rel=1e-5)
    languages = {name: score["bits_per_byte"] for name, score in result["languages"].items()}
    in_loop = {
        name.removeprefix("bits_per_byte/"): value
        for name, value in last.items()
        if name.startswith("bits_per_byte/")
    }
    assert in_loop == pytest.approx({k: v for k, v in languages.items() if v}, rel=1e-5)
    assert len(in_loop) > 1
    nats, tokens = result["total"]["nats"], result["total"]["tokens"]
    assert last["nonpadding_target_tokens"] == tokens
    assert last["loss_per_nonpadding_target_token"] == pytest.approx(nats / tokens, rel=1e-5)


def test_a_period_of_time_alone_saves_after_each_step_at_which_it_is_over(tmp_path):
    # Every step takes longer.
    period = "--gin.checkpoints.SaveCheckpointConfig.period"
    more = (f"{period}=0", f"{period}_minutes=1e-9", "--gin.TRAIN_STEPS=3")
    assert _run(tmp_path / "run", *more) == 0
    assert checkpoints.steps(tmp_path / "run") == [1, 2, 3]


def test_a_finished_directory_is_left_alone(pretrained, capsys):
    before = (pretrained / "manifest.json").stat().st_mtime_ns
    assert _run(pretrained) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert (pretrained / "manifest.json").stat().st_mtime_ns == before


def test_other_settings_on_the_directory_are_refused_by_name(pretrained, tmp_path, capsys):
    assert _run(pretrained, "--gin.schedules.WarmupStable.peak=0.5") == 2
    assert "schedule.peak: there 0.003, here 0.5" in capsys.readouterr().err
    # Also while unfinished, before anything is trained.
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "run.json").write_bytes((pretrained / "run.json").read_bytes())
    assert _run(unfinished, "--gin.train/batches.DatasetConfig.seed=7") == 2
    assert "input data.seed: there 0, here 7" in capsys.readouterr().err
    assert not checkpoints.steps(unfinished)


def test_a_run_goes_on_with_another_kernel_and_remat_policy_but_not_with_other_heads(
    pretrained, tmp_path, capsys
):
    model_dir = tmp_path / "moved"
    shutil.copytree(pretrained, model_dir)
    shutil.rmtree(model_dir / f"checkpoint_{STEPS}")
    (model_dir / "manifest.json").unlink()
    heads = small_run.model_flags(num_heads=4, head_dim=4)
    assert _run(model_dir, *heads) == 2
    said = capsys.readouterr().err
    assert "model.num_heads: there 2, here 4" in said
    assert "attention" not in said
    elsewhere = small_run.model_flags(attention="dense", remat_policy="full")
    assert _run(model_dir, *elsewhere) == 0
    moved, stayed = (read_metrics(folder / "train") for folder in (model_dir, pretrained))
    for line, before in zip(moved, stayed, strict=True):
        assert line["loss"] == pytest.approx(before["loss"], rel=1e-5)
    assert _manifest(model_dir)["config"] == _manifest(pretrained)["config"]


def test_another_tokenizer_than_the_data_has_is_refused(tmp_path, capsys):
    train_tokenizer(
        input_dir=str(packed_example.corpus_dir()),
        output_dir=str(tmp_path / "tokenizer"),
        vocab_size=600,
        sample_bytes=200_000,
        character_coverage=0.9995,
    )
    assert _run(tmp_path / "run", f"--gin.TOKENIZER_DIR={tmp_path / 'tokenizer'}") == 2
    assert "was packed with tokenizer" in capsys.readouterr().err


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path, capsys):
    assert _run(tmp_path / "run", "--gin.config.TransformerConfig.vocab_size=512") == 2
    assert "700 tokens, the model's vocab_size is 512" in capsys.readouterr().err


def test_annealing_goes_on_with_step_optimizer_and_learning_rate(pretrained, tmp_path):
    rates = "{'refinecode': 83.94, 'algorithmic_corpus': 16.06}"
    _run(
        tmp_path / "anneal",
        f"--gin.INITIAL_CHECKPOINT_PATH={pretrained}",
        "--gin.mixtures.register_mixture.name=annealing_in_tests",
        f"--gin.mixtures.register_mixture.rates={rates}",
        "--gin.TRAIN_STEPS=4",
        "--gin.schedules.ExponentialDecay.peak=3e-3",
        "--gin.schedules.ExponentialDecay.final=1e-4",
        gin_file="anneal/demo.gin",
    )
    lines = read_metrics(tmp_path / "anneal" / "train")
    told = json.loads((tmp_path / "anneal" / "mixture.json").read_text())
    before = read_metrics(pretrained / "train")[-1]
    for name, share in told.items():
        seen = lines[-1][f"tokens_seen/{name}"]
        assert share["tokens_before"] == before.get(f"tokens_seen/{name}", 0)
        assert share["tokens"] == seen - share["tokens_before"]
        assert share["epochs"] == pytest.approx(lines[-1][f"epochs/{name}"])
    assert [line["step"] for line in lines] == [13, 14, 15, 16]
    assert lines[0]["learning_rate"] == pytest.approx(3e-3)
    assert lines[-1]["learning_rate"] == pytest.approx(3e-3 * (1 / 30) ** (3 / 4), rel=1e-4)
    first, *_, before = read_metrics(pretrained / "train")
    learned = first["loss_per_nonpadding_target_token"] - 0.03
    assert lines[0]["loss_per_nonpadding_target_token"] < learned
    assert lines[0]["tokens_seen"] > before["tokens_seen"]
    metadata = checkpoints.read_metadata(tmp_path / "anneal")
    assert [phase["config"]["first_step"] for phase in metadata.phases] == [0, STEPS]
    assert metadata.tokens_by_source["algorithmic_corpus"] > 0


@pytest.mark.slow
def test_muon_s_state_goes_on_in_annealing_and_adamw_s_is_refused_to_it(
    pretrained, tmp_path, capsys
):
    muon = ("--gin_file=train/muon.gin", "--gin.TRAIN_STEPS=4")
    assert _run(tmp_path / "pretrain", *muon) == 0
    annealing = [
        "--gin.mixtures.register_mixture.name=muon_in_tests",
        "--gin.mixtures.register_mixture.rates={'refinecode': 1.0}",
        "--gin.schedules.ExponentialDecay.peak=3e-3",
        "--gin.schedules.ExponentialDecay.final=1e-4",
    ]
    start = f"--gin.INITIAL_CHECKPOINT_PATH={tmp_path / 'pretrain'}"
    anneal = _run(tmp_path / "anneal", *muon, start, *annealing, gin_file="anneal/demo.gin")
    assert anneal == 0
    lines = read_metrics(tmp_path / "anneal" / "train")
    assert [line["step"] for line in lines] == [5, 6, 7, 8]
    before = read_metrics(tmp_path / "pretrain" / "train")[-1]
    assert lines[0]["learning/param_norm"] == pytest.approx(before["learning/param_norm"], rel=0.05)
    # AdamW's moments are no start for Muon.
    start = f"--gin.INITIAL_CHECKPOINT_PATH={pretrained}"
    assert _run(tmp_path / "no", *muon, start, *annealing, gin_file="anneal/demo.gin") == 2
    assert "optimizer.type: there 'AdamW', here 'Muon'" in capsys.readouterr().err


def test_sft_takes_the_parameters_and_starts_its_own_count(pretrained, tmp_path):
    _run(
        tmp_path / "sft",
        f"--gin.INITIAL_CHECKPOINT_PATH={pretrained}/checkpoint_8",
        "--gin.MIXTURE_OR_TASK_NAME=algorithmic_corpus",
        "--gin.TRAIN_STEPS=2",
        gin_file="sft/stage1_demo.gin",
    )
    lines = read_metrics(tmp_path / "sft" / "train")
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[0]["learning_rate"] == pytest.approx(3e-4 / 5)
    at_8 = read_metrics(pretrained / "train")[8]
    assert lines[0]["learning/param_norm"] == pytest.approx(at_8["learning/param_norm"], rel=1e-2)


def test_an_initial_checkpoint_of_another_model_is_refused(pretrained, tmp_path, capsys):
    status = _run(
        tmp_path / "sft",
        f"--gin.INITIAL_CHECKPOINT_PATH={pretrained}",
        "--gin.MIXTURE_OR_TASK_NAME=refinecode",
        "--gin.config.TransformerConfig.mlp_dim=64",
        gin_file="sft/stage1_demo.gin",
    )
    assert status == 2
    assert "mlp_dim: there 32, here 64" in capsys.readouterr().err


def test_sigusr1_leaves_a_profile_and_sigterm_saves_and_exits_with_143(tmp_path, capsys):
    model_dir = tmp_path / "run"
    asked = []

    def terminate_once_training(*arguments: object) -> None:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            return
        if not asked:
            asked.append(True)
            os.kill(os.getpid(), signal.SIGUSR1)
        elif list((model_dir / "profile").rglob("*.xplane.pb")):
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.kill(os.getpid(), signal.SIGTERM)

    previous = signal.signal(signal.SIGALRM, terminate_once_training)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    try:
        with pytest.raises(SystemExit) as stopped:
            _run(model_dir, *LONG, "--gin.train.spikes=None")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert stopped.value.code == loop.TERMINATED_EXIT_STATUS
    saved = checkpoints.steps(model_dir)[-1]
    assert f"saved checkpoint_{saved}" in capsys.readouterr().err


def test_a_run_that_diverges_stops_and_saves_nothing_of_it(tmp_path, capsys):
    peak = "--gin.schedules.WarmupStable.peak=1e38"
    assert _run(tmp_path / "run", peak, "--gin.train.spikes=None") == 2
    assert re.search(r"step \d+: .*not finite", capsys.readouterr().err)
    assert checkpoints.steps(tmp_path / "run") == []


def test_a_run_that_skips_step_after_step_stops_and_names_the_reason(tmp_path, capsys):
    peak = "--gin.schedules.WarmupStable.peak=1e38"
    assert _run(tmp_path / "run", peak, "--gin.spikes.SpikeConfig.max_in_a_row=3") == 2
    said = capsys.readouterr().err
    assert re.search(r"the last 3 steps were all skipped \(\d+ non_finite, 0 loss_spike", said)
    # Each of them but the last, which ended the run, has its line.
    lines = read_metrics(tmp_path / "run" / "train")
    assert [line["skipped_steps/in_a_row"] for line in lines][-2:] == [1, 2]
    assert len(re.findall(r"step \d skipped, non_finite \(loss [\d.]+, limit inf", said)) >= 3
