"""A quality scorer without a teacher that can judge: for the miniature of that ablation alone.

    python -m benchmarks.stand_in_scorer --corpus=CORPUS --output=FOLDER [--files=200]

The commands of docs/quality.md, with a teacher who knows one rule instead of a model: code whose
beginning has comments, functions and short lines is good. The scorer is then FOLDER/scorer. What
it selects is what the rule likes, so an ablation with it tries the machinery and says nothing of
quality: a model of 135 million parameters gave every file that it rated the same score.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from tests.beam_pipelines.synthesis.scripted_teacher import ScriptedTeacher

_COMMENT = ("#", "//", "/*", "*", "--", '"""', ";", "%")
_FUNCTION = re.compile(
    r"^\s*(?:def|func|fn|function|sub|let|(?:public|private|protected|static)\b.*\()", re.MULTILINE
)


def rated(code: str) -> int:
    """2 to 10: up to four points for comments, three for functions, one for short lines."""
    lines = [line.strip() for line in code.splitlines() if line.strip()]
    if not lines:
        return 0
    comments = sum(line.startswith(_COMMENT) for line in lines) / len(lines)
    long = sum(len(line) > 100 for line in lines) / len(lines)
    functions = len(_FUNCTION.findall(code))
    return round(2 + min(4.0, 20 * comments) + min(3, functions) + (long < 0.02))


def answered(prompt: str) -> str:
    """What the teacher says; the prompt has the code between fences."""
    _, _, rest = prompt.partition("```")
    code, _, _ = rest.rpartition("```")
    return f"Score: {rated(code)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--corpus", required=True, help="a cleaned corpus")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--files", type=int, default=200, help="of each language")
    arguments = parser.parse_args()
    with ScriptedTeacher(answered) as teacher:
        _run(
            "beam_pipelines.synthesize",
            "--gin_file=synthesis/quality_scores.gin",
            f"--gin.INPUT_DIR={arguments.corpus}",
            f"--gin.OUTPUT_DIR={arguments.output / 'sets'}",
            f"--gin.FILES_PER_LANGUAGE={arguments.files}",
            f"--teacher_url={teacher.settings(arguments.output).url}",
            "--teacher_model=rule",
            f"--teacher_cache_dir={arguments.output / 'calls'}",
        )
    _run(
        "beam_pipelines.quality_scorer",
        "--gin_file=quality_scorer/base.gin",
        f"--gin.INPUT_DIR={arguments.output / 'sets' / 'quality_scores'}",
        f"--gin.OUTPUT_DIR={arguments.output / 'scorer'}",
    )


def _run(module: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", module, *words], check=True)


if __name__ == "__main__":
    main()
