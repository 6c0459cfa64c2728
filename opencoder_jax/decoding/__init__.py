"""Text from a model: KV cache, sampling, and batched generation with stop conditions.

`cache` and `steps` are the two compiled programs (prefill, decode), `sampling` turns
logits into a token, `generation` is what callers use: `generate(model, prompts, settings)`.
A prompt gives the same text alone and in any batch. Imports no tensorflow.
"""
