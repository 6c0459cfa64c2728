"""Corpus-sized work as Apache Beam jobs: cleaning, deduplication, packing, data making.

One job a module (`python -m beam_pipelines.refinecode --help`), built from the named
transforms in the folders beside them. Never imports jax, flax or tensorflow: a
Dataflow worker stays small. `docs/architecture.md` is the map.
"""
