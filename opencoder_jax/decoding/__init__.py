"""Text from a model: an engine with continuous batching, sampling, and stop conditions.

`generation` continues a list of prompts, `engine` serves requests that come and go, by the
compiled `programs`. Those are made of `forward` (the model over a `cache`), `sampling`
(logits to a token) and `weights` (how the model lies in memory), on a CPU with `native`
kernels; `text` turns tokens into text as they come. A prompt gives the same text alone and
in any batch. Imports no tensorflow.
"""
