"""Sweeps: the same stages under many gin settings, planned, run by any workers, compared.

A sweep is a gin file that binds a `definition.Sweep`. `python -m opencoder_jax.sweep plan`
expands it into arms and seeds, has every command check and print what each arm would really
be (`resolution`), gives every stage of every arm a key out of that (`planning`), and writes
`plan.json`, which is all that `run`, `status`, `report`, `diff` and `browse` read.
docs/sweeps.md is the guide.
"""
