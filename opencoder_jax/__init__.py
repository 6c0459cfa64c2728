"""The model side of the OpenCoder cookbook: input, training, evaluation, export.

Nothing is imported here: a Beam worker imports `opencoder_jax.formats` (the record
formats both packages share) and must not pull in jax. Start reading at
`opencoder_jax/train.py`; `docs/architecture.md` is the map.
"""

__version__ = "0.1.0"
