"""One module a benchmark: its published layout, how it is asked, how an answer is tested.

Numbers (token limits, time limits, stop texts, wording) stand with their sources in
`gin_configs/evaluate/tasks/`, one file a benchmark, whose name is what `--tasks` takes.
"""
