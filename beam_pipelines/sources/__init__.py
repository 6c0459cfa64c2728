"""Where documents come from: `installed` (the environment's packages), `folder` (any folder),
and containers: `jsonl`, `parquet`, `stack_v2`, `refinecode_metadata`, `tarball`, `arrayrecord`.

A source lists and reads in workers and hands over `entry.RawFile`s, whose ids depend on
names alone. What cannot be a document (a link, an unreadable folder) is handed over as
well, with its obstacle, so that it is accounted for. `local` and `remote` open
files, `containers` cuts and spreads them, `fields` makes raw files of records.
"""
