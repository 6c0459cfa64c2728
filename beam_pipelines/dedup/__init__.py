"""Exact and near deduplication of files, repositories and chunks, as Beam transforms.

`levels` is the way in. `exact` drops byte-identical texts. `near` is the paper's fuzzy
stage: `shingles` (5-grams of words), `minhash` (2048 permutations, 16 bands), `links` and
`components` (which candidates hang together), `cluster` (who stays: nothing is dropped
before its exact Jaccard similarity to the document that stays is known). `repository` and
`chunk` are the other levels of the paper's §7; `overlap` verifies repositories.
`docs/dedup.md` has the reasons and the measurements.
"""
