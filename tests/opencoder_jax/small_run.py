"""Flags of a training run of seconds: a tiny model on the packed example, many saves."""

from tests import packed_example

MODEL = {
    "vocab_size": 700,
    "num_layers": 1,
    "emb_dim": 16,
    "num_heads": 2,
    "num_kv_heads": 1,
    "head_dim": 8,
    "mlp_dim": 32,
    "max_length": packed_example.SEQUENCE_LENGTH,
}

EVAL_PERIOD = 50


def model_flags(**changes: object) -> list[str]:
    """The dimensions of `MODEL`, or some changed, over those of a gin file."""
    fields = {**MODEL, **changes}
    return [f"--gin.config.TransformerConfig.{name}={value}" for name, value in fields.items()]


def flags(*more: str, steps: int, save_period: int) -> list[str]:
    """For `python -m opencoder_jax.train`; `MODEL_DIR` is the caller's."""
    return [
        "--gin_file=pretrain/demo.gin",
        f"--gin.PACKED_DIR={packed_example.packed_dir()}",
        f"--gin.TOKENIZER_DIR={packed_example.tokenizer_dir()}",
        f"--gin.TASK_FEATURE_LENGTHS={{'targets': {packed_example.SEQUENCE_LENGTH}}}",
        *model_flags(),
        "--gin.BATCH_SIZE=4",
        f"--gin.train.eval_period={EVAL_PERIOD}",
        "--gin.train.eval_steps=1",
        f"--gin.TRAIN_STEPS={steps}",
        f"--gin.checkpoints.SaveCheckpointConfig.period={save_period}",
        *more,
    ]
