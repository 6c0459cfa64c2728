"""What the commands of the project say of themselves: which settings are no part of a key."""

from opencoder_jax.sweep.planning.resolution import Request, resolve

_TRAINING = (
    "--gin_file=pretrain/demo.gin",
    "--gin.PACKED_DIR=x",
    "--gin.TOKENIZER_DIR=x",
    "--gin.MODEL_DIR=x",
)


def _key_part(answer):
    assert not answer.error
    return {name: v for name, v in answer.bindings.items() if name not in answer.incidental}


def test_a_trainings_key_holds_what_another_phase_may_find_there_and_not_how_it_was_watched():
    requests = {
        name: Request("opencoder_jax.train", (*_TRAINING, *words))
        for name, words in {
            "plain": (),
            "other period": ("--gin.checkpoints.SaveCheckpointConfig.period=60",),
            "keeps more": ("--gin.checkpoints.SaveCheckpointConfig.keep_period=10",),
            "by the clock too": ("--gin.checkpoints.SaveCheckpointConfig.period_minutes=30",),
            "other log": ("--gin.train.stats_period=7", "--gin.train.keep_compiled=False"),
            "other seed": ("--gin.RANDOM_SEED=1",),
        }.items()
    }
    answers = resolve(list(requests.values()))
    parts = {name: _key_part(answers[request]) for name, request in requests.items()}
    same = {name for name, part in parts.items() if part == parts["plain"]}
    assert same == {"plain", "by the clock too", "other log"}
