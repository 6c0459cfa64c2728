"""Rows in the layouts of public sets, written by hand; the fields are those of their cards."""

from typing import Any

# allenai/WildChat-1M.
WILDCHAT: dict[str, Any] = {
    "conversation_hash": "4b103162c5ba1bcbbfd0bd8b4ea5b1cd",
    "model": "gpt-4-0314",
    "conversation": [
        {"content": "Reverse a list", "role": "user", "language": "English", "toxic": False},
        {"content": "```python\nx[::-1]\n```", "role": "assistant", "language": "English"},
        {"content": "And in place?", "role": "user", "language": "English", "toxic": False},
        {"content": "`x.reverse()`", "role": "assistant", "language": "English", "toxic": False},
    ],
    "turn": 2,
    "language": "English",
    "toxic": False,
    "redacted": False,
}
# ShareGPT's export, as ajibawa-2023/Code-290k-ShareGPT has it.
SHAREGPT: dict[str, Any] = {
    "id": "identity_0",
    "conversations": [
        {"from": "human", "value": "Sort words in Go"},
        {"from": "gpt", "value": "```go\nsort.Strings(words)\n```"},
    ],
}
# BAAI/Infinity-Instruct.
INFINITY: dict[str, Any] = {
    "id": "77",
    "conversations": [
        {"from": "human", "value": "写一个函数"},
        {"from": "gpt", "value": "```cpp\nint f();\n```"},
    ],
    "label": {"ability_en": ["programming"], "cate_ability_en": ["code"]},
    "langdetect": "zh-cn",
    "source": "code_alpaca",
}
OPENAI: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "One loop in C"}]},
        {"role": "assistant", "content": "```c\nfor (;;);\n```"},
    ]
}
ALPACA: dict[str, Any] = {
    "instruction": "Rewrite in Rust.",
    "input": "int x = 1;",
    "output": "```rust\nlet x = 1;\n```",
}
# OpenCoder-LLM/opc-sft-stage2: educational_instruct; the others have the first three fields.
EDUCATIONAL: dict[str, Any] = {
    "seq_id": 2112114,
    "instruction": "Write a function to twice a number.",
    "output": "```python\ndef twice_it(x):\n    return 2 * x\n```",
    "code": "def twice_it(x):\n    return 2 * x",
    "entry_point": "twice_it",
    "testcase": ["assert twice_it(2) == 4", "assert twice_it(0) == 0"],
}
# OpenCoder-LLM/opc-annealing-corpus.
ANNEALING: dict[str, Any] = {"text": "int main() { return 0; }\n", "lang": "c", "score": 0.9}
