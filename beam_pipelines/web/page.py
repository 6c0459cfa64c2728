"""A page as a crawl file hands it over, before anybody has looked into its HTML."""

import dataclasses
from typing import NamedTuple


@dataclasses.dataclass(frozen=True, slots=True)
class RawPage:
    """One capture of a page.

    Attributes:
      url: as the crawl wrote it; empty where it wrote none.
      body: the bytes that the server sent, transfer and content encodings undone.
      is_html: whether it is markup; else it is text already.
      charset: as declared outside of the body; may be empty, and may be wrong.
      fetched: seconds since the epoch; 0 where unknown.
      source: name of the crawl file.
      position: in the crawl file, in words.
    """

    url: str
    body: bytes
    is_html: bool
    charset: str = ""
    fetched: int = 0
    source: str = ""
    position: str = ""

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


class Skipped(NamedTuple):
    """Records of a crawl file that are no captures of pages: requests, metadata, revisits."""

    kind: str
    records: int
