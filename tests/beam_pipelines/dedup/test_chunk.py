import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.dedup.chunk import ChunkDedup, chunk_ends
from beam_pipelines.dedup.near import NearDedup
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.dedup.shingles import jaccard, shingle_hashes, word_ends
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document
from tests import packed_example
from tests.beam_pipelines.dedup.running import document, run

SETTINGS = NearSettings(component_rounds=4)
TOKENS = 400  # of a chunk


def lines(seed: int, count: int = 50) -> str:
    """`count` lines of 8 words; 50 of them are a chunk."""
    rng = random.Random(seed)
    words = [[f"name_{rng.randrange(10**9)}" for _ in range(8)] for _ in range(count)]
    return "".join(" ".join(line) + "\n" for line in words)


def cut(text: str, tokens: int) -> list[str]:
    data = text.encode()
    ends = chunk_ends(data, word_ends(data), tokens)
    return [data[a:b].decode() for a, b in zip([0, *ends[:-1]], ends, strict=True)]


@given(st.lists(st.sampled_from(["a", "bb", "日本", "\n", " ", "(", "\r\n"]), max_size=60))
def test_chunks_are_the_text_and_none_has_too_many_words(parts: list[str]) -> None:
    text = "".join(parts)
    chunks = cut(text, 3)
    assert "".join(chunks) == text
    assert all(word_ends(chunk.encode()).size <= 3 for chunk in chunks)
    assert all(chunks) or chunks == [""]


def test_a_chunk_ends_at_a_line_where_it_has_one() -> None:
    assert cut("a b\nc d e\nf g", 4) == ["a b\n", "c d e\n", "f g"]
    assert cut("f(a);\n  g(b);\nh", 4) == ["f(a);\n  g(b);\n", "h"]
    assert cut("a b c d e f g", 4) == ["a b c d ", "e f g"]


def test_characters_of_several_tokens_are_not_cut() -> None:
    data = "ab日本c".encode()
    ends = chunk_ends(data, np.arange(1, len(data) + 1), 4)
    assert [data[a:b].decode() for a, b in zip([0, *ends[:-1]], ends, strict=True)] == [
        "ab",
        "日",
        "本c",
    ]
    ends = chunk_ends(data, np.arange(1, len(data) + 1), 2)
    assert (
        "".join(data[a:b].decode() for a, b in zip([0, *ends[:-1]], ends, strict=True)) == "ab日本c"
    )


def corpus() -> list[Document]:
    a, b, c = lines(1), lines(2), lines(3)
    return [
        document(1, a + b + c, stars=9),
        document(2, lines(4) + b, stars=1),  # its second chunk goes
        document(3, c + a),  # all of it goes, though no document equals it
        document(4, lines(5)),
        document(5, a.replace("name_1", "edit_1", 1) + lines(6)),  # near: its first chunk goes
        document(6, ""),
    ]


@pytest.fixture(scope="module")
def outputs() -> dict[str, list]:
    outputs = run(corpus(), ChunkDedup(SETTINGS, TOKENS))
    return {name: sorted(records, key=lambda r: r.id) for name, records in outputs.items()}


def test_a_document_keeps_the_chunks_that_stay(outputs: dict[str, list]) -> None:
    texts = {int(d.id, 16): d.text for d in outputs["kept"]}
    assert texts == {
        1: corpus()[0].text,
        2: lines(4),
        4: lines(5),
        5: lines(6),
        6: "",
    }
    hashes = {d.id: d.content_sha256 for d in corpus()}
    assert all(d.content_sha256 == hashes[d.id] for d in outputs["kept"])


def test_a_document_without_a_chunk_left_is_dropped(outputs: dict[str, list]) -> None:
    (drop,) = outputs["dropped"]
    assert (drop.id, drop.reason) == (corpus()[2].id, "all_chunks_duplicate")
    assert drop.detail == f"{corpus()[0].id}-000002"


def test_what_a_document_lost_is_counted(outputs: dict[str, list]) -> None:
    trimmed = {int(t.id, 16): t for t in outputs["trimmed"]}
    assert trimmed.keys() == {2, 5}
    assert (trimmed[2].chunks, trimmed[2].removed_chunks) == (2, 1)
    assert trimmed[2].removed_bytes == len(lines(2))
    assert trimmed[5].path == "src/5.py"


def test_a_near_chunk_is_verified(outputs: dict[str, list]) -> None:
    (cluster,) = outputs["clusters"]
    assert (cluster.level, cluster.size, cluster.dropped) == ("chunk", 2, 1)
    best, other = cluster.members
    assert (best.path, other.path) == ("src/1.py#0", "src/5.py#0")
    near = corpus()[4].text[: corpus()[4].text.index(lines(6))]
    assert other.jaccard == jaccard(shingle_hashes(lines(1)), shingle_hashes(near)) > 0.979


def test_documents_that_share_chunks_share_a_cluster(outputs: dict[str, list]) -> None:
    clusters = {int(d.id, 16): int(d.duplicate_cluster, 16) for d in outputs["kept"]}
    assert clusters == {1: 1, 2: 1, 4: 4, 5: 1, 6: 6}


def test_chunks_that_are_only_candidates_connect_documents_too() -> None:
    """A chain of Jaccard 0.67: nothing goes, and clusters are those of whole documents."""
    settings = NearSettings(1, 100, 20, 5, min_jaccard=0.8, component_rounds=4)
    words = lines(9).split()
    documents = [document(i, " ".join(words[20 * i : 20 * i + 100])) for i in range(15)]
    chunked = run(documents, ChunkDedup(settings, TOKENS))
    whole = run(documents, NearDedup(**dataclasses.asdict(settings)))
    clusters = {d.id: d.duplicate_cluster for d in chunked["kept"]}
    assert clusters == {d.id: d.duplicate_cluster for d in whole["kept"]}
    assert len(set(clusters.values())) < len(documents) == len(clusters)


def test_the_order_of_the_input_changes_nothing(outputs: dict[str, list]) -> None:
    shuffled = run(corpus()[::-1], ChunkDedup(SETTINGS, TOKENS))
    assert {k: sorted(v, key=lambda r: r.id) for k, v in shuffled.items()} == outputs


def test_tokens_are_those_of_the_tokenizer_if_one_is_given() -> None:
    tokenizer = packed_example.tokenizer()
    text = lines(1, 20)
    limit = len(tokenizer.encode(text)) // 2
    documents = [document(1, text + lines(2, 20)), document(2, text + lines(3, 20))]
    outputs = run(documents, ChunkDedup(SETTINGS, limit, str(packed_example.tokenizer_dir())))
    (trimmed,) = outputs["trimmed"]
    assert trimmed.removed_chunks >= 2
    assert trimmed.removed_bytes <= len(text)


def test_a_tokenizer_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match=r"/nowhere has no tokenizer.model"):
        run([document(1, "x")], ChunkDedup(SETTINGS, TOKENS, "/nowhere"))
