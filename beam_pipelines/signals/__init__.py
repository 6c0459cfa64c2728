"""Quality signals of a document, and the rules that drop it by them.

`document` parses a text once; `text`, `code` and `python` define signals on what it
holds and register them (`registry`); `compute` calls what a document's kind asks for;
`rules` compares the values with tables of thresholds that stand in
`gin_configs/refinecode/rules`. Definitions are those of OpenCoder's released filter,
whose names the signals keep; `docs/rules.md` lists where and why they differ.
"""
