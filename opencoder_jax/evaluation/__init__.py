"""What a model is worth: bits per byte on held-out text, HumanEval, samples to read.

Each task is a frozen dataclass that gin binds, with a `name`, the `inputs()` its result
depends on and `run(model, folder)`; `opencoder_jax.evaluate` is the command that runs
them. `humaneval_problems` needs no jax. Nothing here imports tensorflow or seqio.
"""
