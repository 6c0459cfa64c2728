"""Quality of code files as a small model sees it that learned from a large one's scores.

An option beyond the paper, off by default: `scorer` (features, training, scores), `agreement`
(does it say what its teacher says), `select` (a stage of the cleaning job).
Commands: `beam_pipelines.synthesize` with `synthesis/quality_scores.gin`, then
`beam_pipelines.quality_scorer`.
"""
