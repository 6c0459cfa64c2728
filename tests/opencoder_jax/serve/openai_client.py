"""Run by the clients' own Python: asks with the openai SDK, and prints the answers as JSON."""

import json
import sys

import openai

url, key = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
(model,) = [model.id for model in client.models.list()]
found: dict = {"model": model, "errors": {}}

ask = {"model": model, "prompt": "def f(x):", "max_tokens": 12, "temperature": 0, "logprobs": 2}
whole = client.completions.create(**ask, echo=True, n=2, stop=["never"], seed=1, user="me")
found["texts"] = [choice.text for choice in whole.choices]
found["usage"] = whole.usage.to_dict()
found["offsets"] = whole.choices[0].logprobs.text_offset
options = {"include_usage": True}
parts = list(client.completions.create(**ask, stream=True, stream_options=options))
found["streamed"] = "".join(part.choices[0].text for part in parts if part.choices)
found["streamed_usage"] = parts[-1].usage.to_dict()

messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
talk = {"model": model, "messages": messages, "max_completion_tokens": 12, "temperature": 0}
answer = client.chat.completions.create(**talk, logprobs=True, top_logprobs=3)
found["chat"] = answer.choices[0].message.content
found["chat_tokens"] = [
    (entry.token, entry.logprob, len(entry.top_logprobs))
    for entry in answer.choices[0].logprobs.content
]
try:
    with client.chat.completions.stream(**talk) as stream:
        final = stream.get_final_completion()
except openai.LengthFinishReasonError as error:  # The SDK's way to say that it is not whole.
    final = error.completion
found["chat_streamed"] = final.choices[0].message.content
found["finish_reason"] = final.choices[0].finish_reason

with client.completions.create(**{**ask, "max_tokens": 1000}, stream=True) as left:
    next(iter(left))

for name, call in {
    "too_long": lambda: client.completions.create(**{**ask, "max_tokens": 10**6}),
    "no_model": lambda: client.completions.create(**{**ask, "model": "gpt-4"}),
    "no_role": lambda: client.chat.completions.create(
        **{**talk, "messages": [{"role": "root", "content": "x"}]}
    ),
    "no_tools": lambda: client.chat.completions.create(
        **talk, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]
    ),
    "no_key": lambda: client.with_options(api_key="wrong").models.list(),
    "no_path": lambda: client.embeddings.create(model=model, input="x"),
}.items():
    try:
        call()
    except openai.APIStatusError as error:
        found["errors"][name] = [type(error).__name__, error.code, error.param]
print(json.dumps(found))
