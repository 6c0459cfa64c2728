"""The report page: a run's folders read into dataclasses, laid out as one HTML file.

`collect` reads (with a module for each kind of folder), `charts` makes the figures,
`page` renders `template.html.j2` and its sections; `__main__` is the command. The page
needs no network: style, script and figures stand in it.
"""
