"""Exact and near deduplication (paper §2.1.1), as Beam transforms.

`exact` drops byte-identical texts. `near` is the paper's fuzzy stage: `shingles` (5-grams
of words), `minhash` (2048 permutations, 16 bands), `components` (which candidates hang
together), `cluster` (who stays: nothing is dropped before its exact Jaccard similarity to
the document that stays is known). `keep_order` says which of two copies is the better one.
`docs/dedup.md` has the reasons and the measurements.
"""
