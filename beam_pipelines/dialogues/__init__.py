"""Dialogues and instructions of other people's files, as conversations.

`rows` reads JSON lines, JSON arrays, parquet and Arrow files; `layouts` knows where each
published layout keeps its turns; `turns` makes a dialogue of them that can be trained on, or
says why not. `beam_pipelines/import_instructions.py` is the command.
"""
