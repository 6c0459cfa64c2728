"""Corpus-sized work as Apache Beam jobs: cleaning, deduplication, packing, data making.

One job a module (`python -m beam_pipelines.refinecode --help`), built from the named
transforms in the folders beside them. Never imports jax, flax or tensorflow: a
Dataflow worker stays small. `docs/architecture.md` is the map.
"""

import logging

# What Beam tells the root logger on every run: that its optional BigQuery client is not
# installed, and that it cannot check transforms that return several collections.
_NOISE = ("apitools not found", "put type hint will be ignored")
logging.getLogger().addFilter(lambda record: not any(n in str(record.msg) for n in _NOISE))
