"""What a model is worth: code benchmarks, bits per byte on held-out text, samples to read.

`opencoder_jax.evaluate` is the command. A code benchmark (`benchmark`, one module each in
`benchmarks/`) is run by the one `harness` on whoever answers (`answerers/`); other measures
(`bits_per_byte`, `samples`) are tasks of their own (`task`). Each is a frozen dataclass that
gin binds. `humaneval_problems`, `contamination` and `benchmark_texts` need no jax. Nothing here
imports tensorflow or seqio.
"""
