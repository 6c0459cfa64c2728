"""Watching a training run in the terminal, from its model directory alone.

`run_state` reads what `opencoder_jax.train` writes as it goes, `screen` shows it; neither asks
the process that trains for anything, so a run is watched from any machine that sees its folder,
before it starts, while it trains and after it has ended. Nothing here imports jax.
"""
