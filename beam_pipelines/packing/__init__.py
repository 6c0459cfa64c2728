"""How tokenized texts become sequences of exactly S+1 tokens.

`items` (a tokenized text), `best_fit` (which pieces share a sequence), `sequences` (pieces,
arrays, counts), `tokenize` (records to items), `heldout` (which side of the split).
`beam_pipelines.pack` is the job built from them.
"""
