"""Every gin file is what its header says: it runs with its own command, and training lowers."""

import importlib.util
import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import gin
import pytest

from opencoder_jax import configuration
from opencoder_jax.data.batches import plan_shapes
from opencoder_jax.sweep.plan import plan
from opencoder_jax.sweep.planning import planner
from opencoder_jax.train import train
from opencoder_jax.training import facts

FOLDER = configuration.CONFIG_FOLDER
TEXTS = {str(p.relative_to(FOLDER)): p.read_text() for p in sorted(FOLDER.rglob("*.gin"))}
INCLUDED = {
    included
    for text in TEXTS.values()
    for included in re.findall(r"^include ['\"](.*)['\"]", text, re.MULTILINE)
}


def _source_of(module: str) -> tuple[str, str]:
    """Name and text of the module that `python -m` runs."""
    spec = importlib.util.find_spec(module)
    if spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    return spec.name, Path(spec.origin).read_text()


def _own_command(name: str) -> str | None:
    """The module in the file's header that runs this very file, by flag or by default."""
    for module in re.findall(r"python -m ([\w.]+(?: plan)?)", TEXTS[name]):
        module = module.replace(" ", ".")
        if f"--gin_file={name}" in TEXTS[name] or f'"{name}"' in _source_of(module)[1]:
            return module
    return None


# T5X's loop reads this one (test_t5x_adapter runs it); T5X is no dependency.
FOREIGN = {"t5x/pretrain.gin"}
OWN_COMMAND = {
    name: module for name in TEXTS if name not in FOREIGN and (module := _own_command(name))
}
TRAINING = [name for name, module in OWN_COMMAND.items() if module == "opencoder_jax.train"]
SWEEPS = [name for name, module in OWN_COMMAND.items() if module == "opencoder_jax.sweep.plan"]


def _gin_files(name: str) -> list[str]:
    """The gin files of the header's command that names this one; it alone where none does."""
    header = TEXTS[name].replace("\\\n#", "")
    commands = (re.findall(r"--gin_file=(\S+)", line) for line in header.splitlines())
    return next((files for files in commands if name in files), [name])


def _configured(function, name):
    """`function` as the header configures it, with something for whatever the user has to say."""
    bindings = []
    while True:
        try:
            return configuration.configure(function, gin_files=_gin_files(name), bindings=bindings)
        except configuration.ConfigurationError as error:
            unset = re.search(r"required and unset: ([^.]*(?:\.\w+)*)\. Set", str(error))
            if not unset or bindings:
                raise
            bindings = [f"{macro} = 'unset'" for macro in unset[1].split(", ")]


def _training_settings(name):
    """What the gin file makes the command's arguments."""
    _configured(train, name)
    return SimpleNamespace(**gin.get_bindings(train))


def test_every_gin_file_has_a_header_with_its_own_command_or_is_included():
    assert [name for name in TEXTS if not TEXTS[name].startswith("# ")] == []
    unnamed = [name for name in TEXTS if name not in OWN_COMMAND and name not in INCLUDED]
    assert set(unnamed) == FOREIGN


@pytest.mark.parametrize("name", sorted(OWN_COMMAND))
def test_gin_file_parses_with_its_own_command(name):
    module, source = _source_of(OWN_COMMAND[name])
    (command,) = re.findall(r"^ +.*\bmain\(\s*(\w+)", source, re.MULTILINE)
    _configured(getattr(importlib.import_module(module), command), name)


@pytest.mark.parametrize("name", TRAINING)
def test_train_step_lowers_for_the_devices_and_the_mesh_of_its_gin_file(name, monkeypatch):
    monkeypatch.setattr(facts, "_lowered", {})
    settings = vars(_training_settings(name))
    parameters = inspect.signature(facts.training_facts).parameters
    told = facts.training_facts(**{n: settings[n] for n in parameters if n in settings})
    assert told["lowered"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_sweep_plans_with_arms_that_all_differ_and_share_what_they_are_compared_on(name, tmp_path):
    _configured(plan, name)
    sweep = gin.get_bindings(plan)["sweep"]
    planned = planner.make_plan(
        sweep, str(tmp_path), outputs="../stages", records="../work", search_paths=[]
    )
    assert len(planned.arms) > 1
    assert [run for run in planned.runs if run.same_as] == []
    for shared in ("reference", "tokenizer", "heldout"):
        keys = {run.stages[shared] for run in planned.runs if shared in run.stages}
        assert len(keys) <= 1


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("pretrain/opencoder_1b5.gin", 2e12),
        ("pretrain/opencoder_1b5_wsd.gin", 2.1e12),
        ("pretrain/opencoder_8b.gin", 2.5e12),
        ("pretrain/opencoder_8b_4k.gin", 1.0905e12),
        ("pretrain/opencoder_8b_8k.gin", 2.5e12 - 1.0905e12),
        ("anneal/opencoder_1b5.gin", 1e11),
        ("anneal/opencoder_8b.gin", 1e11),
    ],
)
def test_steps_batch_and_length_make_the_tokens_of_the_paper(name, tokens):
    settings = _training_settings(name)
    plan = settings.train_dataset_cfg
    steps = [s.steps for s in plan] if isinstance(plan, list) else [settings.train_steps]
    assert sum(steps) == settings.train_steps
    made = sum(n * b * s for n, (b, s) in zip(steps, plan_shapes(plan), strict=True))
    assert made == pytest.approx(tokens, rel=1e-4)
