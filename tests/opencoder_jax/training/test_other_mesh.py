"""A checkpoint is of no mesh: a step that goes on from it elsewhere is the same, compiled once."""

import jax
import numpy as np

from opencoder_jax.training import checkpoints, step
from opencoder_jax.training.checkpoints import CheckpointMetadata
from tests.opencoder_jax.training import small


def test_steps_after_a_restore_on_another_mesh_are_the_same_and_compile_once(tmp_path):
    state, _ = small.trained(small.CONFIG, small.placement(fsdp=2), 2)
    metadata = CheckpointMetadata(
        step=2,
        tokens_by_source={},
        model=small.MODEL.to_json(),
        tokenizer_fingerprint="t",
        data={},
        phases=[],
    )
    with checkpoints.CheckpointWriter(tmp_path) as writer:
        writer.save(state.params, state.opt_state, metadata)
    uninterrupted, _ = small.trained(small.CONFIG, small.placement(fsdp=2), 4)

    where = small.placement(data=2, fsdp=2, tensor=2)
    abstract = step.abstract_state(small.CONFIG, where)
    restored = checkpoints.restore(tmp_path, None, abstract.params, abstract.opt_state)
    with where.activate():
        state = step.state_at(where, 2, restored.params, restored.opt_state)
        train_step = step.make_train_step(small.CONFIG, where)
        for k in (2, 3):
            state, _ = train_step(state, step.put_batch(where, small.random_batch(k)))
    assert train_step._cache_size() == 1
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-4),
        jax.device_get(state.params),
        jax.device_get(uninterrupted.params),
    )
