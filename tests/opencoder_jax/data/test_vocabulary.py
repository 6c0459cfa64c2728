"""Either kind of tokenizer is a vocabulary of real seqio tasks."""

import shutil

import pytest
import seqio
import tensorflow as tf

from opencoder_jax.data.vocabulary import TokenizerVocabulary
from opencoder_jax.errors import InputError
from opencoder_jax.formats.tokenizer import open_tokenizer
from tests import packed_example
from tests.opencoder_jax.byte_level import make_folder

TEXTS = ["def f(x):\n    return x\n", "", "é漢\U0001f600 <|im_end|>"]


@pytest.fixture(scope="module", params=["ours", "byte level"])
def folder(request, tmp_path_factory):
    if request.param == "ours":
        return packed_example.tokenizer_dir()
    return make_folder(tmp_path_factory.mktemp("vocabulary") / "tokenizer")


def test_a_seqio_task_tokenizes_and_ends_texts_with_it(folder):
    vocabulary = TokenizerVocabulary(folder)
    tokenizer = open_tokenizer(folder)
    name = f"test_vocabulary_{tokenizer.fingerprint}"
    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(
            lambda split, shuffle_files, seed=None: tf.data.Dataset.from_tensor_slices(
                {"targets": TEXTS}
            ),
            splits=["train"],
        ),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={"targets": seqio.Feature(vocabulary, add_eos=True)},
    )

    dataset = seqio.get_mixture_or_task(name).get_dataset({"targets": 100}, "train", shuffle=False)
    found = [example["targets"].numpy().tolist() for example in dataset]

    assert found == [[*tokenizer.encode(text), tokenizer.document_end] for text in TEXTS]
    assert [vocabulary.decode(ids) for ids in found] == TEXTS


def test_tensors_decode_as_lists_do(folder):
    vocabulary = TokenizerVocabulary(folder)
    ids = vocabulary.encode(TEXTS[0])

    assert vocabulary.decode_tf(tf.constant(ids)).numpy().decode() == TEXTS[0]
    rows = vocabulary.decode_tf(tf.constant([ids, ids])).numpy()
    assert [row.decode() for row in rows] == [TEXTS[0]] * 2
    assert vocabulary.vocab_size == open_tokenizer(folder).vocab_size


def test_vocabularies_are_equal_where_their_tokenizers_are(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")

    assert TokenizerVocabulary(folder) == TokenizerVocabulary(copy)
    assert TokenizerVocabulary(folder) != TokenizerVocabulary(copy, extra_ids=1)
    other = make_folder(tmp_path / "other", bos=True)
    assert TokenizerVocabulary(folder) != TokenizerVocabulary(other)
    with pytest.raises(InputError, match="tokenizer"):
        TokenizerVocabulary(tmp_path / "missing").encode("a")
