"""Training: from a batch to a finished model directory.

`schedules` and `optimizers` (what a step does to the parameters), `losses` (what it
minimises), `step` (the jitted train step), `checkpoints` (what survives a kill),
`metrics` (what a reader sees), `facts` (what a run will be, before it is one), `start` and
`run_directory` (where a phase begins, and what stands around its checkpoints), `loop` (step
after step). The command is `opencoder_jax/train.py`; pretraining, annealing and both SFT
stages are the same code under different gin files.
"""
