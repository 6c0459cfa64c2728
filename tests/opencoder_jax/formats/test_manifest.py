import json

import pytest

from opencoder_jax.formats import manifest
from opencoder_jax.formats.manifest import ManifestError


def finish(folder, **changes):
    settings = {"job": "pack", "config": {"n": 5}, "inputs": {"corpus": "abc"}} | changes
    (folder / "out.txt").write_text("x")
    return manifest.write_manifest(folder, counts={"input": 1}, **settings)


def test_two_runs_of_the_same_work_give_the_same_manifest(tmp_path):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        finish(tmp_path / name)
        (tmp_path / name / "timing.json").write_text(name)
        contents.append((tmp_path / name / "manifest.json").read_bytes())
    assert contents[0] == contents[1]


def test_a_changed_file_changes_the_fingerprint(tmp_path):
    before = finish(tmp_path)["fingerprint"]
    (tmp_path / "more.txt").write_text("y")
    assert finish(tmp_path)["fingerprint"] != before


def test_finished_work_is_recognised_and_unfinished_work_is_not(tmp_path):
    settings = {"job": "pack", "config": {"n": 5}, "inputs": {"corpus": "abc"}}
    assert manifest.already_done(tmp_path, **settings) is None
    written = finish(tmp_path)
    assert manifest.already_done(tmp_path, **settings) == written


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"config": {"n": 6}}, "n: there 5, here 6"),
        ({"config": {"n": 5, "m": 1}}, "m: there None, here 1"),
        ({"inputs": {"corpus": "abd"}}, "input corpus: there 'abc', here 'abd'"),
        ({"job": "refinecode"}, "job: there pack, here refinecode"),
    ],
)
def test_a_folder_of_another_configuration_is_refused_with_the_difference(
    tmp_path, change, complaint
):
    finish(tmp_path)
    settings = {"job": "pack", "config": {"n": 5}, "inputs": {"corpus": "abc"}} | change
    with pytest.raises(ManifestError, match=complaint):
        manifest.already_done(tmp_path, **settings)


def test_an_unfinished_folder_says_so(tmp_path):
    with pytest.raises(ManifestError, match="has not finished"):
        manifest.read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="no such folder"):
        manifest.read_manifest(tmp_path / "nowhere")


def test_a_damaged_manifest_is_named(tmp_path):
    finish(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(ManifestError, match=r"manifest.json is damaged"):
        manifest.read_manifest(tmp_path)
    path.write_text(json.dumps({"format_version": 99}))
    with pytest.raises(ManifestError, match="format 99"):
        manifest.read_manifest(tmp_path)
