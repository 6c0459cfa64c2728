"""Training examples made from real code: self-contained functions, proved by their doctests.

`source_module` finds definitions and cuts them out of a file with all that they need,
`doctests` runs their examples in the sandbox, `instructions` words tasks around them,
`sets` writes what is kept and counts what is not, `job` is what both commands share. They
are `beam_pipelines/annealing_data.py` and `beam_pipelines/sft_data.py`.
"""
