"""Code-related web recall (paper §2.1.2): seeds, a classifier, domains, URL patterns, rounds.

`labels` says which pages are seeds, by tables and by URL patterns; `segments` and
`classifier` learn from them; `scoring` applies that to every page; `domains` finds the sites
that a person should look at, `review` shows them. `rounds` does one after the other, and
`beam_pipelines/web_recall.py` is the command.
"""
