"""Whoever answers: a model in this process, an endpoint, the `transformers` reference.

All have one face, so a benchmark does not know which of them it measures: `local` runs a
`LoadedModel`, `endpoint` asks any OpenAI-compatible server, `reference` is Hugging Face's own
implementation, to compare with.
"""
