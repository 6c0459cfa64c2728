"""Pages as a source of the cleaning job: what `web_pages`, or recall after it, has written.

Ids, hosts, addresses and days stay what they were, and a page stays Markdown although its
address ends in `.html` or `.php`.
"""

import dataclasses

from beam_pipelines.sources import containers
from beam_pipelines.sources.arrayrecord import ArrayRecordFormat


@dataclasses.dataclass(frozen=True)
class PageDocuments(containers.ContainerSource):
    """`documents-*` shards of pages."""

    def form(self) -> containers.Format:
        return ArrayRecordFormat(None, is_typed=True)
