import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.packing.infilling import InfillSettings, rearranged
from beam_pipelines.packing.tokenize import document_item
from opencoder_jax.errors import InputError
from opencoder_jax.formats import shards
from opencoder_jax.formats.infilling import infill_ids, infill_tokens
from opencoder_jax.formats.packed import decode_packed
from tests import packed_example
from tests.packed_example import document, pack_example

ALWAYS = InfillSettings(rate=1.0)


def parts(item, tokenizer):
    """(prefix, middle, suffix) of a rearranged item, read back from its tokens."""
    mark = infill_tokens(tokenizer)
    ids = item.tokens.tolist()
    assert (ids[0], ids[-1]) == (tokenizer.document_start, tokenizer.document_end)
    before, after = ids.index(mark.suffix), ids.index(mark.middle)
    assert ids[1] == mark.prefix
    decode = tokenizer.decode
    if before == 2:  # The suffix stands first; prefix and middle are one.
        return decode([]), decode(ids[after + 1 : -1]), decode(ids[before + 1 : after])
    return decode(ids[2:before]), decode(ids[after + 1 : -1]), decode(ids[before + 1 : after])


@given(st.text(max_size=60), st.integers(0, 50), st.sampled_from([0.0, 1.0]))
@settings(deadline=None)
def test_the_parts_are_the_text_and_every_byte_is_predicted_once(text, seed, suffix_first):
    tokenizer = packed_example.tokenizer()
    item = document_item(document("r", "a.py", text), tokenizer)
    chosen = InfillSettings(1.0, suffix_first, seed)
    found = rearranged(item, chosen, tokenizer, longest=10_000)
    assert found is not None
    assert "".join(parts(found, tokenizer)) == text
    predicted = found.tokens[found.weights == 1]
    assert tokenizer.byte_lengths[predicted].sum() == found.text_bytes == item.text_bytes
    assert not set(infill_tokens(tokenizer)) & set(predicted.tolist())
    assert found.infilling
    assert not item.infilling


def test_a_training_text_begins_as_a_prompt_does():
    tokenizer = packed_example.tokenizer()
    text = "def f(x):\n    return x + 1\n\n\nprint(f(2))\n"
    chosen = InfillSettings(1.0, suffix_first=0.0, seed=3)
    item = rearranged(
        document_item(document("r", "a.py", text), tokenizer), chosen, tokenizer, 1000
    )
    prefix, middle, suffix = parts(item, tokenizer)
    assert min(map(len, (prefix, middle, suffix))) > 0
    prompt = infill_ids(prefix, suffix, tokenizer)
    assert item.tokens[: len(prompt)].tolist() == prompt


def test_a_document_longer_than_a_sequence_stays_as_it_is():
    tokenizer = packed_example.tokenizer()
    item = document_item(document("r", "a.py", "x = 1\n" * 50), tokenizer)
    assert rearranged(item, ALWAYS, tokenizer, longest=len(item.tokens)) is None
    assert rearranged(item, ALWAYS, tokenizer, longest=len(item.tokens) + 20)


def test_packing_rearranges_a_share_of_the_training_side_alone(tmp_path):
    corpus = [document(f"r/{n}", "a.py", f"def f{n}(x):\n    return x * {n}\n") for n in range(120)]
    packed_example.write_corpus(tmp_path / "corpus", corpus)
    manifest = pack_example(tmp_path / "corpus", tmp_path / "plain")
    assert manifest["counts"]["train"]["infilling_documents"] == 0
    assert "infilling" not in str(sorted(manifest["config"]))
    manifest = pack_example(tmp_path / "corpus", tmp_path / "fim", fim_rate=0.5)
    train, held = manifest["counts"]["train"], manifest["counts"]["heldout"]
    assert train["documents"] * 0.3 < train["infilling_documents"] < train["documents"] * 0.7
    assert held["infilling_documents"] == 0
    middle = infill_tokens(packed_example.tokenizer()).middle

    def gaps(side):
        records = shards.read_records(tmp_path / "fim", side)
        return sum(int(np.sum(decode_packed(r).tokens == middle)) for r in records)

    assert (gaps("train"), gaps("heldout")) == (train["infilling_documents"], 0)


def test_conversations_and_impossible_rates_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"fim_rate is 1\.5"):
        pack_example(packed_example.corpus_dir(), tmp_path / "out", fim_rate=1.5)
    conversations = tmp_path / "conversations"
    packed_example.write_conversations(conversations, [])
    with pytest.raises(InputError, match="holds conversations"):
        pack_example(conversations, tmp_path / "out", fim_rate=0.5)
