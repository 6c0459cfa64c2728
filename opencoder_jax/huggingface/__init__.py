"""Hugging Face folders, out and in: what other tools load, and what others trained.

`llama` maps dimensions and parameter names to `LlamaForCausalLM`'s, `tensors` writes and
reads sharded safetensors, `tokenizer` turns our SentencePiece model into `tokenizer.json`,
`folder` puts them together; `gguf_file` and `gguf_tokenizer` read llama.cpp's files.
Neither torch nor transformers is imported; the tests hold the result against them.
Commands: `opencoder_jax/export_hf.py`, `import_hf.py`, `import_gguf.py`.
"""
