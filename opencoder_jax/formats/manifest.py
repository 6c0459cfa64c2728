"""`manifest.json`: what a finished folder holds and everything that it was made from.

A folder with a manifest is finished; one without is not. The manifest names the
operative gin configuration, the code version, the fingerprints of all inputs and the
SHA-256 of every file written, and nothing that differs between two runs of the same
work (no times, no paths): two runs give the same manifest to the last byte.
Timings stand beside it, in `timing.json`.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opencoder_jax import __version__
from opencoder_jax.errors import InputError

MANIFEST_NAME = "manifest.json"
# In a model directory from its first moment on: what is being trained.
RUN_NAME = "run.json"
FORMAT_VERSION = 1
_KEYS = ("job", "config", "inputs", "counts", "files", "fingerprint")
# Differ between two runs of the same work: times, and the paths in gin provenance comments.
UNHASHED = (MANIFEST_NAME, "timing.json", "config.gin")


class ManifestError(InputError):
    """A folder is not what its reader or writer needs; the message says what to do."""


def fingerprint(value: Any) -> str:
    """16 hex digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def flattened(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested JSON objects as one level of `a.b`, so that a mismatch names the very setting."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat |= flattened(item, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = item
    return flat


def file_sha256(path: str | os.PathLike) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_text(value: Any) -> str:
    """The one way in which files of ours hold JSON: sorted, so that equal values are equal."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` under a temporary name, then moves it into place."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json_text(value))
    temporary.replace(path)


def make_manifest(
    *,
    job: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    counts: Mapping[str, Any],
    files: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest, with its own `fingerprint` (of the files' hashes).

    Args:
      job: the command that made the folder, e.g. `refinecode`.
      config: the operative configuration: binding to value, as JSON.
      inputs: name to fingerprint of each thing that was read.
      counts: whatever the job accounts for; must be JSON.
      files: relative path to SHA-256.
    """
    return {
        "format_version": FORMAT_VERSION,
        "job": job,
        "code_version": __version__,
        "config": dict(config),
        "config_fingerprint": fingerprint(dict(config)),
        "inputs": dict(inputs),
        "counts": dict(counts),
        "files": dict(files),
        "fingerprint": fingerprint(dict(files)),
    }


def write_manifest(
    folder: str | os.PathLike,
    *,
    job: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    counts: Mapping[str, Any],
    files: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Marks `folder` finished.

    Args:
      folder: where the files are.
      job, config, inputs, counts: as in `make_manifest`.
      files: relative path to SHA-256; None hashes every file of the folder that is not
        hidden and not in `UNHASHED`.

    Returns:
      The manifest.
    """
    folder = Path(folder)
    if files is None:
        files = hash_files(folder)
    manifest = make_manifest(job=job, config=config, inputs=inputs, counts=counts, files=files)
    write_json(folder / MANIFEST_NAME, manifest)
    return manifest


def hash_files(folder: str | os.PathLike) -> dict[str, str]:
    """Relative path to SHA-256 of every file that is not hidden and not in `UNHASHED`."""
    folder = Path(folder)
    return {
        str(path.relative_to(folder)): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.name not in UNHASHED
    }


def read_manifest(folder: str | os.PathLike) -> dict[str, Any]:
    """The manifest of a finished folder.

    Raises:
      ManifestError: the folder is missing, unfinished, or its manifest is damaged.
    """
    path = Path(folder) / MANIFEST_NAME
    if not Path(folder).is_dir():
        raise ManifestError(f"{folder}: no such folder")
    if not path.exists():
        raise ManifestError(
            f"{folder} has no {MANIFEST_NAME}: its job has not finished; run that again"
        )
    return parse_manifest(path.read_bytes(), path)


def parse_manifest(content: bytes, path: str | os.PathLike) -> dict[str, Any]:
    """The manifest in a file's content.

    Args:
      content: of the file.
      path: for messages.

    Raises:
      ManifestError: it is damaged or of another format.
    """
    try:
        manifest = json.loads(content)
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} is damaged ({error}); make the folder again") from error
    if version != FORMAT_VERSION:
        raise ManifestError(f"{path} has format {version}, this code reads {FORMAT_VERSION}")
    missing = [key for key in _KEYS if key not in manifest]
    if missing:
        raise ManifestError(f"{path} is damaged (no {', '.join(missing)}); make the folder again")
    return manifest


def refuse_unfinished_training(model_dir: str | os.PathLike) -> None:
    """Keeps a killed run's latest checkpoint from being taken for the model.

    Raises:
      ManifestError: `model_dir` is of a training that has not finished.
    """
    folder = Path(model_dir)
    if (folder / RUN_NAME).exists() and not (folder / MANIFEST_NAME).exists():
        raise ManifestError(
            f"{folder} has a {RUN_NAME} and no {MANIFEST_NAME}: its training has not finished; run "
            "that again, or say which of its checkpoints you want"
        )


def already_done(
    folder: str | os.PathLike, *, job: str, config: Mapping[str, Any], inputs: Mapping[str, str]
) -> dict[str, Any] | None:
    """The manifest, if `folder` was finished by this job with these settings and inputs.

    Returns:
      None where there is no manifest: the work is still to be done.

    Raises:
      ManifestError: it was finished by another job, configuration or input. The message
        lists what differs.
    """
    if not (Path(folder) / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(folder)
    check_same_work(folder, manifest, job=job, config=config, inputs=inputs)
    return manifest


def check_same_work(
    folder: str | os.PathLike,
    there: Mapping[str, Any],
    *,
    job: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> None:
    """Compares what `folder` was made from (`job`, `config`, `inputs` of `there`) with now.

    Raises:
      ManifestError: they differ. The message lists what does.
    """
    if there["job"] != job:
        raise ManifestError(
            f"{folder} was made by another command (job: there {there['job']}, here {job}); "
            "choose another output folder"
        )
    differences = []
    for title, made, asked in (
        ("", there["config"], config),
        ("input ", there["inputs"], inputs),
    ):
        for key in sorted({*made, *asked}):
            if made.get(key) != asked.get(key):
                differences.append(
                    f"{title}{key}: there {made.get(key)!r}, here {asked.get(key)!r}"
                )
    if differences:
        raise ManifestError(
            f"{folder} was made with other settings; choose another output folder, or remove "
            "this one:\n  " + "\n  ".join(differences)
        )
