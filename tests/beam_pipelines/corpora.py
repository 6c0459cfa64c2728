"""A small corpus folder as `beam_pipelines.refinecode` leaves it, for jobs that read one."""

from collections.abc import Sequence
from pathlib import Path

from opencoder_jax.formats.document import Document, document_id, encode_document
from opencoder_jax.formats.manifest import write_manifest
from opencoder_jax.formats.shards import shard_name, write_shard


def write_corpus(folder: Path, texts: Sequence[tuple[str, str, str]], *, shards: int = 2) -> None:
    """Writes (repo, path, text) as documents; `.py` files are Python, others JavaScript."""
    documents = [
        Document(
            id=document_id("test", repo, path),
            text=text,
            repo=repo,
            path=path,
            language="python" if path.endswith(".py") else "javascript",
            doc_type="text" if path.endswith(".md") else "code",
            licence="MIT",
        )
        for repo, path, text in texts
    ]
    folder.mkdir(parents=True)
    for index in range(shards):
        write_shard(
            folder / shard_name("documents", index, shards),
            [encode_document(document) for document in documents[index::shards]],
        )
    write_manifest(folder, job="refinecode", config={}, inputs={}, counts={})
