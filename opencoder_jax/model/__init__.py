"""The OpenCoder decoder (Llama family): pre-RMSNorm, RoPE, grouped queries, SwiGLU, no biases.

`config` has the dimensions, `layers` and `attention` the mathematics as pure functions,
`transformer` the Flax modules that hold the parameters and the functions that the
trainer, the decoder and the exporter call, `loading` opens a model from disk.
Read them in that order; shapes follow the naming legend of docs/architecture.md.
"""
