"""A tokenizer that counts the tokens of chunks is named by what it is, not by where it stands."""

import shutil
from pathlib import Path

import pytest

from beam_pipelines import refinecode
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import ManifestError, read_manifest
from tests import packed_example


def clean(source: Path, output: Path, tokenizer: str) -> None:
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/paper.gin"],
        bindings=[f"SOURCE_DIR = '{source}'", f"OUTPUT_DIR = '{output}'", "NUM_SHARDS = 1"],
    )
    configured(dedup_levels=("chunk",), chunk_tokens=64, chunk_tokenizer=tokenizer)


def test_the_same_tokenizer_elsewhere_is_the_same_work_and_another_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output, copy = (tmp_path / name for name in ("source", "corpus", "copy"))
    (source / "repo").mkdir(parents=True)
    (source / "repo" / "a.py").write_text("def double(number):\n    return 2 * number\n" * 30)
    clean(source, output, str(packed_example.tokenizer_dir()))
    shutil.copytree(packed_example.tokenizer_dir(), copy)
    clean(source, output, str(copy))
    assert "nothing to do" in capsys.readouterr().err
    config = read_manifest(output)["config"]
    assert config["chunk_tokenizer"] == packed_example.tokenizer().fingerprint
    with pytest.raises(ManifestError, match="chunk_tokenizer"):
        clean(source, output, "")
    with pytest.raises(InputError, match="nowhere has no tokenizer"):
        clean(source, output, str(tmp_path / "nowhere"))
