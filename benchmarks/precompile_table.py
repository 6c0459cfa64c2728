"""Every phase of both models on four machines: does it fit, and what do the chips' limits allow?

    python -m benchmarks.precompile_table [--results=DIR] [--only=8b] [--write]

Each cell is one `opencoder_jax.precompile` under the phase's gin file and the machine's
(`gin_configs/precompile/`), a minute or more of compiling; its report stays in DIR as JSON and
is not made again, so a stopped table goes on. `--only` takes the cells whose name contains
the word. `--write` puts the table between the marks in docs/precompile.md.
Exit status 3 where a phase does not fit.
"""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GIB = 1 << 30
DOCS = Path(__file__).parent.parent / "docs" / "precompile.md"
MARKS = ("<!-- table of benchmarks.precompile_table -->", "<!-- end of table -->")
DOES_NOT_FIT = 3
PHASES = {
    "1b5": {
        "pretrain": "pretrain/opencoder_1b5.gin",
        "anneal": "anneal/opencoder_1b5.gin",
        "SFT 1": "sft/stage1_opencoder_1b5.gin",
        "SFT 2": "sft/stage2_opencoder_1b5.gin",
    },
    "8b": {
        "pretrain 4k": "pretrain/opencoder_8b_4k.gin",
        "pretrain 8k": "pretrain/opencoder_8b_8k.gin",
        "anneal": "anneal/opencoder_8b.gin",
        "SFT 1": "sft/stage1_opencoder_8b.gin",
        "SFT 2": "sft/stage2_opencoder_8b.gin",
    },
}
# Machine, as its gin files are called, to topology and slices.
MACHINES = {
    "v5e_256": ("v5e-256", 1),
    "v5p_128": ("v5p-128", 1),
    "v6e_256": ("v6e-256", 1),
    "two_v5e_256": ("v5e-256", 2),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One compilation."""

    model: str
    phase: str
    machine: str

    @property
    def name(self) -> str:
        return f"{self.model}.{self.phase}.{self.machine}".replace(" ", "_")

    def command(self, file: Path) -> list[str]:
        topology, num_slices = MACHINES[self.machine]
        # 512 short sequences a step are too few to be split.
        short = ["--gin.train.num_microbatches=1"] if self.phase == "SFT 2" else []
        return [
            *(sys.executable, "-m", "opencoder_jax.precompile"),
            *(f"--topology={topology}", f"--num_slices={num_slices}", f"--json_file={file}"),
            f"--gin_file={PHASES[self.model][self.phase]}",
            f"--gin_file=precompile/opencoder_{self.model}_on_{self.machine}.gin",
            *short,
        ]


def cells() -> Iterator[Cell]:
    """All, the telling ones first: first phases on every machine, then the others."""
    every = [
        Cell(model, phase, machine)
        for model, phases in PHASES.items()
        for phase in phases
        for machine in MACHINES
    ]
    return iter(sorted(every, key=lambda cell: list(PHASES[cell.model]).index(cell.phase)))


def compile_cells(results: Path, only: str) -> None:
    """Compiles what `results` does not hold."""
    results.mkdir(parents=True, exist_ok=True)
    for cell in cells():
        file = results / f"{cell.name}.json"
        if only not in cell.name or file.exists():
            continue
        done = subprocess.run(cell.command(file), capture_output=True, text=True, check=False)
        if done.returncode not in (0, DOES_NOT_FIT):
            raise RuntimeError(f"{cell.name}: {done.stdout}{done.stderr}")
        verdict = done.stdout.strip().splitlines()
        print(cell.name, next((v for v in verdict if v.startswith("MFU")), verdict[-3]), flush=True)


def table(results: Path) -> str:
    """The table of all cells that `results` holds, as Markdown."""
    lines = [
        "| model, machine | phase | sequences a chip | GiB: arguments + temporaries, peak "
        "| compute, HBM, ICI, DCN ms | MFU at most |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for model in PHASES:
        for machine in MACHINES:
            for phase in PHASES[model]:
                file = results / f"{Cell(model, phase, machine).name}.json"
                if file.exists():
                    lines += [_row(model, machine, phase, r) for r in json.loads(file.read_text())]
    return "\n".join(lines)


def _row(model: str, machine: str, phase: str, report: dict[str, Any]) -> str:
    chips = f"{report['num_slices']} x " if report["num_slices"] > 1 else ""
    where = f"{model}, {chips}{MACHINES[machine][0]}"
    rows = report["batch_size"] / report["num_devices"]
    parts = report["num_microbatches"]
    batch = f"{rows / parts:g} x {report['sequence_length']:,}"
    batch += f", {parts} times" if parts > 1 else ""
    batch += f", {report['remat_policy']}"
    if not report["fits"]:
        return f"| {where} | {phase} | {batch} | does not fit | | |"
    memory, bound = report["memory"], report["bound"]
    sizes = [memory[kind] / GIB for kind in ("arguments", "temporaries", "peak")]
    times = ", ".join(f"{1e3 * seconds:,.0f}" for seconds in bound["seconds"].values())
    return (
        f"| {where} | {phase} | {batch} | {sizes[0]:.2f} + {sizes[1]:.2f}, {sizes[2]:.2f} "
        f"| {times} | {bound['mfu']:.0%} ({bound['limiting']}) |"
    )


def write(text: str) -> None:
    """Puts the table into the documentation."""
    start, end = map(re.escape, MARKS)
    page = DOCS.read_text()
    found = re.search(f"{start}\n.*?{end}", page, re.DOTALL)
    assert found, f"{DOCS} has no marks for the table"
    DOCS.write_text(page.replace(found[0], f"{MARKS[0]}\n{text}\n{MARKS[1]}"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("precompiled"))
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    compile_cells(options.results, options.only)
    text = table(options.results)
    print(text)
    if options.write:
        write(text)
    return DOES_NOT_FIT if "does not fit" in text else 0


if __name__ == "__main__":
    sys.exit(main())
