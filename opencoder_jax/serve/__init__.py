"""The OpenAI-compatible server: `python -m opencoder_jax.serve --model=DIR` (docs/serving.md).

Starlette routes on uvicorn read requests and write answers; one engine runs in a thread of its
own. `app` has the routes, `schemas` what a request may say, `runner` the engine's thread and the
way from it to asyncio, `completions` and `chat` the two kinds of answers, `token_text` and
`choices` their texts and log-probabilities, `http_server` what clients do below HTTP. Imports no
tensorflow. Next: `app`.
"""
