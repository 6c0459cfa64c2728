"""File formats that the data jobs and the trainer share, without heavy imports.

Records: `example` (tf.train.Example without TensorFlow), `document` (one source file),
`conversation` (one instruction example; `chat` lays it out), `packed` (one training
sequence). Files: `shards` (ArrayRecord), `tokenizer` (either of two kinds). Folders:
`manifest` (what a finished one is and what it was made from), `staging` (one that appears
whole), `split` (what is held out). Imports neither jax nor apache_beam nor tensorflow.
"""
