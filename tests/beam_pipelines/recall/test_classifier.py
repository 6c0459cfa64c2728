"""Segmentation and classifier: the same for the same pages, and what fastText itself says."""

import numpy as np
import pytest

from beam_pipelines.recall.classifier import (
    Classifier,
    ClassifierSettings,
    Example,
    fasttext_library,
    train,
)
from beam_pipelines.recall.segments import FolderSegmenter, TrainedSegmenter, train_segmenter
from opencoder_jax.errors import InputError
from tests.beam_pipelines.recall import crawl

_SETTINGS = ClassifierSettings(least_steps=4000)


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    return {
        "code": crawl.english_code()[:40] + crawl.chinese_code(40),
        "none": crawl.english_other()[:30] + crawl.chinese_other(30),
    }


@pytest.fixture(scope="module")
def segmenter(texts) -> TrainedSegmenter:
    model = train_segmenter([text for kind in texts.values() for text in kind], 3000)
    return TrainedSegmenter.load(model, "segments.model")


@pytest.fixture(scope="module")
def examples(texts, segmenter) -> list[Example]:
    return [Example(label, segmenter.pieces(t)) for label, kind in texts.items() for t in kind]


@pytest.fixture(scope="module")
def model(examples, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "classifier.bin"
    train(lambda: examples, _SETTINGS, path)
    return path


def test_a_table_of_pieces_says_what_the_library_says(examples, model, segmenter):
    library = fasttext_library().load_model(str(model))
    classifier = Classifier.load(model, segmenter.size)
    for example in examples:
        labels, values = library.predict(" ".join(map(str, example.pieces)), k=2)
        expected = {
            label.removeprefix("__label__"): value
            for label, value in zip(labels, values, strict=True)
        }
        # The library adds in single precision.
        assert classifier.scores(example.pieces) == pytest.approx(expected, abs=3e-5)


def test_what_it_has_learned_it_knows(examples, model, segmenter):
    classifier = Classifier.load(model, segmenter.size)
    right = [
        (classifier.scores(example.pieces)["code"] > 0.5) == (example.label == "code")
        for example in examples
    ]
    assert np.mean(right) > 0.97


def test_the_same_examples_give_the_same_file(examples, model, tmp_path):
    train(lambda: examples, _SETTINGS, tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == model.read_bytes()


def test_the_same_texts_give_the_same_segmentation(texts):
    assert train_segmenter(texts["code"], 2000) == train_segmenter(texts["code"], 2000)


def test_words_known_before_change_nothing(texts, segmenter):
    fresh = TrainedSegmenter(segmenter._model)
    for text in texts["code"]:
        assert (
            fresh.pieces(text).tolist() == TrainedSegmenter(segmenter._model).pieces(text).tolist()
        )


def test_a_repeated_page_has_the_pieces_of_one(texts, segmenter):
    text = texts["code"][0]
    assert segmenter.pieces(f"{text}\n{text}").tolist() == segmenter.pieces(text).tolist()


@pytest.mark.parametrize("text", ["", " \n\t ", "12 345 6.7".replace(".", " ")])
def test_a_text_without_words_has_no_pieces(segmenter, text):
    assert segmenter.pieces(text).size == 0


def test_chinese_is_segmented_into_more_than_characters(segmenter):
    pieces = segmenter.pieces("调用接口之前要先检查返回的状态码是否为二百。")
    assert 2 < pieces.size < 22


def test_a_tokenizers_folder_segments_as_well(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        FolderSegmenter(str(tmp_path))


def test_a_vocabulary_too_small_for_the_characters_is_one_clear_error(texts):
    with pytest.raises(InputError, match=r"no segmentation can be learned.*[Vv]ocabulary"):
        train_segmenter(texts["code"], 50)


def test_no_text_is_one_clear_error():
    with pytest.raises(InputError, match="no text to learn a segmentation from"):
        train_segmenter(["", " \n"], 1000)


def test_one_class_is_one_clear_error(examples, tmp_path):
    one = [example for example in examples if example.label == "code"]
    with pytest.raises(InputError, match="pages of two kinds to learn from, found 80 of code"):
        train(lambda: one, _SETTINGS, tmp_path / "model.bin")


def test_a_damaged_model_is_named(tmp_path):
    path = tmp_path / "classifier.bin"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"classifier\.bin is no classifier"):
        Classifier.load(path, 10)


def test_a_library_that_cannot_train_is_named(monkeypatch):
    import fasttext

    monkeypatch.delattr(fasttext, "train_supervised")
    with pytest.raises(
        InputError, match="pip install --force-reinstall --no-deps fasttext-community"
    ):
        fasttext_library()
