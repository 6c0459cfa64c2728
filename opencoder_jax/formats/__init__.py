"""File formats that the data jobs and the trainer share, without heavy imports.

`example` (tf.train.Example without TensorFlow), `document` (one source file as a
record), `packed` (one training sequence as a record), `shards` (ArrayRecord files),
`manifest` (what a finished folder is and what it was made from), `tokenizer`.
Imports neither jax nor apache_beam nor tensorflow.
"""
