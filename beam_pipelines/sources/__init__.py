"""Where documents come from: `installed` (the environment's packages), `folder` (any folder).

A source lists files without reading them, in an order and with ids that depend on their
names alone; `entry.FileEntry` is one file of the list. What cannot be a document (a
link, an unreadable folder) is listed as well, with its obstacle, so that it is accounted for.
"""
