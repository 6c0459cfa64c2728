"""Trains a scorer of code files on a teacher's scores, and says how far the two agree.

    python -m beam_pipelines.quality_scorer --gin_file=quality_scorer/base.gin \\
      --gin.INPUT_DIR=SETS/quality_scores --gin.OUTPUT_DIR=SCORER

`INPUT_DIR` is the set of `synthesis/quality_scores.gin`. Agreement is measured on the files of
held-out repositories, which no model of the scorer has seen. docs/quality.md explains;
`refinecode/min_quality.gin` uses the result.
"""

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from beam_pipelines import output
from beam_pipelines.quality.agreement import Agreement, measure_agreement, table_lines
from beam_pipelines.quality.scorer import OTHERS, Scored, Scorer, ScorerSettings, train_scorer
from beam_pipelines.runner import working_folder
from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.document import decode_document
from opencoder_jax.formats.manifest import already_done, write_json, write_manifest
from opencoder_jax.formats.shards import read_records
from opencoder_jax.formats.split import is_heldout
from opencoder_jax.timing import timed

JOB = "quality_scorer"
AGREEMENT_NAME = "agreement.json"


def quality_scorer(
    input_dir: str,
    output_dir: str,
    scorer: ScorerSettings,
    heldout_share: float,
    threshold: float,
) -> dict[str, Any]:
    """Trains a scorer and measures it.

    Args:
      input_dir: finished set of scored documents.
      output_dir: gets the models, `scorer.json`, `agreement.json` and `manifest.json`.
      scorer: of the models.
      heldout_share: of the repositories, by hash, that nothing is learned from.
      threshold: score from which a file counts as good in the report.

    Returns:
      The manifest.

    Raises:
      InputError: the scores are missing, unfinished or too few, or the output was made with
        other settings.
    """
    require_at_least(0, heldout_share=heldout_share)
    if heldout_share >= 1:
        raise InputError(f"heldout_share is {heldout_share}, expected less than 1")
    config = configuration.canonical(
        {"scorer": scorer, "heldout_share": heldout_share, "threshold": threshold}
    )
    identity: dict[str, Any] = {
        "job": JOB,
        "config": config,
        "inputs": {"scores": output.read_manifest(input_dir)["fingerprint"]},
    }
    done = already_done(output_dir, **identity)
    if done is not None:
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return done
    examples = list(read_scored(Path(input_dir)))
    heldout = [e for e in examples if is_heldout(e.repo, heldout_share)]
    learned = [e for e in examples if not is_heldout(e.repo, heldout_share)]
    if not learned:
        raise InputError(f"{input_dir}: no scored file to learn from (of {len(examples)})")
    with working_folder(output_dir) as work:
        with timed(work):
            train_scorer(learned, scorer, work)
            trained = Scorer.load(work)
            found = dict(_agreements(trained, learned, heldout, threshold))
        plain = {name: vars_of(agreement) for name, agreement in found.items()}
        write_json(work / AGREEMENT_NAME, plain)
        configuration.write_config_gin(work)
        counts = {
            "learned": len(learned),
            "heldout": len(heldout),
            "own_models": list(trained.languages),
            "agreement": plain.get("all"),
        }
        manifest = write_manifest(work, counts=counts, **identity)
    print(f"{output_dir}: {len(learned):,} files learned from")
    for line in table_lines(found.items()):
        print(line)
    if not found:
        print("  no held-out file: nothing is known of the agreement")
    return manifest


def read_scored(folder: Path) -> Iterator[Scored]:
    """Scored documents in order of their shards.

    Raises:
      InputError: a document has no score.
    """
    for record in read_records(folder, "documents"):
        document = decode_document(record)
        try:
            score = float(json.loads(document.signals)["score"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder}: document {document.id} has no score; give the set that "
                "synthesis/quality_scores.gin makes"
            ) from error
        yield Scored(document.id, document.repo, document.language, document.text, score)


def vars_of(agreement: Agreement) -> dict[str, Any]:
    """Its figures, rounded."""
    figures = {name: getattr(agreement, name) for name in Agreement.__slots__}
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}


def _agreements(
    scorer: Scorer, learned: Sequence[Scored], heldout: Sequence[Scored], threshold: float
) -> Iterator[tuple[str, Agreement]]:
    """Of all held-out files, of each language with a model of its own, and of the others."""
    if not heldout:
        return
    median = statistics.median(example.score for example in learned)
    scores = [scorer.score(example.text, example.language) for example in heldout]
    own = scorer.languages
    names = [e.language if e.language in own else OTHERS for e in heldout]
    for name in ("all", *own, OTHERS):
        rows = [i for i in range(len(heldout)) if name in ("all", names[i])]
        if rows:
            yield (
                name,
                measure_agreement(
                    [heldout[i].score for i in rows], [scores[i] for i in rows], median, threshold
                ),
            )


if __name__ == "__main__":
    sys.exit(configuration.main(quality_scorer, default_gin_files=["quality_scorer/base.gin"]))
