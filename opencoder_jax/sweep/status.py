"""Shows how far a sweep is: `python -m opencoder_jax.sweep status SWEEP_DIR [--watch]`.

Reads the plan and the records only, and what running stages write where that is on this machine:
nobody who works is asked for anything.
"""

import collections
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from opencoder_jax import configuration
from opencoder_jax.data import stores
from opencoder_jax.errors import InputError, require_positive
from opencoder_jax.sweep.plan_file import DONE_NAME, FAILED_NAME, TRAIN, PlannedRun, read_plan
from opencoder_jax.sweep.running import board, leases
from opencoder_jax.sweep.running.board import Board, StageState
from opencoder_jax.watch.run_state import LOSS, Watcher
from opencoder_jax.watch.screen import duration

_STYLES = {
    "done": "green", "running": "bold cyan", "ready": "yellow", "waiting": "dim",
    "failed": "bold red", "blocked": "red",
}  # fmt: skip
# Runs are shown in this order where the terminal has no place for all.
_URGENCY = ("failed", "running", "blocked", "ready", "waiting", "done")
_LOG_BYTES = 4096
# Lines of a watched screen around the table of runs, besides one for each running stage.
_OTHER_LINES = 10


def status(
    sweep_dir: Sequence[str] = (),
    watch: bool = False,
    arms: str | None = None,
    seeds: str | None = None,
    refresh_seconds: float = 2.0,
) -> None:
    """Shows the stages of a planned sweep: done, running and how far, waiting, failed.

    Args:
      sweep_dir: the sweep's folder or url.
      watch: go on until nothing more will happen; Ctrl-C ends the watching alone.
      arms: arms to show, `a,b`; all by default.
      seeds: seeds to show, `0,1`; all by default.
      refresh_seconds: between two looks.

    Raises:
      InputError: no plan, or no such arm.
    """
    if len(sweep_dir) != 1:
        raise InputError("give one folder of a sweep: python -m opencoder_jax.sweep status SWEEP")
    require_positive(refresh_seconds=refresh_seconds)
    plan = read_plan(sweep_dir[0])
    view = View(Board(plan, board.chosen(plan, arms, seeds)))
    console = Console(highlight=False)
    if not watch or not console.is_terminal:
        console.print(view.render(view.look()))
        return
    with contextlib.suppress(KeyboardInterrupt):
        states = view.look()
        with Live(view.render(states, console.height), console=console, auto_refresh=False) as live:
            while not all(state.settled for state in states.values()):
                time.sleep(refresh_seconds)
                states = view.look()
                live.update(view.render(states, console.height), refresh=True)


class View:
    """A sweep as text, again and again."""

    def __init__(self, watched: Board) -> None:
        self._board = watched
        self._plan = watched.plan
        shown = set(watched.keys)
        self._runs = [run for run in self._plan.runs if shown.issuperset(run.stages.values())]
        self._watchers: dict[str, Watcher] = {}
        self._seconds: dict[str, float] = {}

    def look(self) -> dict[str, StageState]:
        return self._board.look()

    def render(self, states: Mapping[str, StageState], height: int | None = None) -> RenderableType:
        """The whole screen, in at most `height` lines where that is possible."""
        running = [state for state in states.values() if state.status == "running"]
        failed = [state for state in states.values() if state.status == "failed"]
        parts: list[RenderableType] = [
            Text.assemble((self._plan.name, "bold"), f"  {self._plan.title}"),
            self._progress(states),
        ]
        left = self.seconds_left(states)
        if left is not None:
            count = max(1, len(running))
            at_a_time = f"{count} stage{'s' if count > 1 else ''} at a time"
            parts.append(Text(f"about {duration(left)} left, at {at_a_time}", style="dim"))
        if running:
            parts += [Text(), self._running(running)]
        parts += [self._failure(state) for state in failed]
        room = None if height is None else max(3, height - _OTHER_LINES - len(running))
        return Group(*parts, Text(), self._table(states, room))

    def seconds_left(self, states: Mapping[str, StageState]) -> float | None:
        """By the mean of finished stages of the same name, as many at a time as run now.

        Returns:
          None where nothing is left, or nothing like it has been finished.
        """
        done = collections.defaultdict(list)
        for key, state in states.items():
            if state.status == "done":
                done[state.stage.stage].append(self._wall_seconds(key))
        total, known = 0.0, False
        for state in states.values():
            times = done.get(state.stage.stage)
            if state.settled or not times:
                continue
            known = True
            expected = sum(times) / len(times)
            spent = leases.seconds_since(state.holder["started"]) if state.holder else 0.0
            total += max(0.0, expected - spent)
        running = sum(state.status == "running" for state in states.values())
        return total / max(1, running) if known else None

    def _wall_seconds(self, key: str) -> float:
        if key not in self._seconds:
            record = leases.read_json(self._board.records, f"{key}/{DONE_NAME}") or {}
            self._seconds[key] = record.get("wall_seconds", 0.0)
        return self._seconds[key]

    def _progress(self, states: Mapping[str, StageState]) -> RenderableType:
        counts = collections.Counter(str(state.status) for state in states.values())
        told = [
            Text(f"{counts[name]} {name}", style) for name, style in _STYLES.items() if counts[name]
        ]
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(1, len(states)), completed=counts["done"], width=40))
        return Group(bar, Text.assemble(f"{len(states)} stages: ", Text(", ").join(told)))

    def _running(self, running: Sequence[StageState]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("running", "for", "how far", "by", "attempt"):
            table.add_column(title, overflow="fold" if title == "how far" else "ellipsis")
        for state in running:
            assert state.holder
            silent = leases.seconds_since(state.holder["at"])
            worker = state.holder["worker"]
            if silent > state.holder["lease_seconds"]:
                worker += f", silent for {duration(silent)}"
            table.add_row(
                state.stage.key,
                duration(leases.seconds_since(state.holder["started"])),
                self.how_far(state),
                worker,
                str(state.latest),
            )
        return table

    def how_far(self, state: StageState) -> str:
        """What a running stage has written of itself; empty where that cannot be read here."""
        key = state.stage.key
        folder = self._plan.stage_folder(key)
        if state.stage.command == TRAIN and not stores.is_remote(folder):
            look = self._watchers.setdefault(key, Watcher(folder)).look()
            if look.train:
                of = f" of {look.last_step:,}" if look.last_step else ""
                loss = look.train[-1].get(LOSS)
                return f"step {look.step:,}{of}" + (f", loss {loss:.3f}" if loss else "")
        records = self._plan.records_folder("").rstrip("/")
        if stores.is_remote(records):
            return ""
        return _last_line(Path(records, leases.log_name(key, state.latest)))

    def _failure(self, state: StageState) -> Text:
        key = state.stage.key
        record = leases.read_json(self._board.records, f"{key}/{FAILED_NAME}") or {}
        last = (record.get("log") or "").splitlines()[-1:]
        users = ", ".join(dict.fromkeys(run.arm for run in self._plan.users(key)))
        told = f"{key} failed ({record.get('reason')}), needed by {users}"
        return Text("\n".join([told, *(f"    {line}" for line in last)]), style="bold red")

    def _table(self, states: Mapping[str, StageState], room: int | None) -> RenderableType:
        names = list(
            dict.fromkeys(
                self._plan.stages[key].stage
                for key in states
                if any(key in run.stages.values() for run in self._runs)
            )
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("arm", "seed", *names):
            table.add_column(title)
        shown = self._most_urgent(states, room)
        for run in shown:
            arm = run.arm + (f" = {run.same_as}" if run.same_as else "")
            cells = [_cell(states[run.stages[n]]) if n in run.stages else Text() for n in names]
            table.add_row(arm, str(run.seed), *cells)
        hidden = len(self._runs) - len(shown)
        return Group(table, Text(f"and {hidden} more runs", style="dim")) if hidden else table

    def _most_urgent(
        self, states: Mapping[str, StageState], room: int | None
    ) -> Sequence[PlannedRun]:
        if room is None or len(self._runs) <= room:
            return self._runs
        ranks = [
            min(_URGENCY.index(states[key].status) for key in run.stages.values())
            for run in self._runs
        ]
        kept = sorted(sorted(range(len(self._runs)), key=ranks.__getitem__)[: room - 1])
        return [self._runs[index] for index in kept]


def _cell(state: StageState) -> Text:
    again = f" (attempt {state.latest})" if state.latest > 1 and state.status != "done" else ""
    return Text(state.status + again, style=_STYLES[state.status])


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    # Bars are drawn over and over, with control characters.
    plain = ("".join(c for c in line if c.isprintable()).strip() for line in reversed(lines))
    return next(filter(None, plain), "")


_FLAGS = ("watch", "arms", "seeds", "refresh_seconds")


def main(argv: Sequence[str]) -> int:
    return configuration.main(
        status, argv, words="sweep_dir", flags={name: f"status.{name}" for name in _FLAGS}
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
