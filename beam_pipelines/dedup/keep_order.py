"""Which of two copies stays: the more stars, then the later commit, then the smaller id.

Exact and near deduplication use the same order (paper §2.1.1 names stars and commit time;
the id makes it total, so that the result never depends on the order of the input).
"""

from opencoder_jax.formats.document import Document

KeepOrder = tuple[int, int, str]


def keep_order(document: Document) -> KeepOrder:
    """A sort key; the smallest of a group stays. Its last element is the document's id."""
    return -document.stars, -document.commit_time, document.id
