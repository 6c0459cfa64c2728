"""From packed shards to batches: batch k is a pure function of (seed, mixture, k).

`packed_set` (one packed folder: what its manifest promises, held-out sequences) imports
neither grain nor seqio, so evaluation can use it; `packed_source` (random access through
grain), `interleaving` (which source a row comes from), `batches` (batch k), `mixtures` (the
seqio registry, the only module here that imports seqio and with it TensorFlow).
"""
