"""Arms of a sweep: sources combined, stages rewired, mistakes told together."""

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.sweep.definition import (
    Arms,
    Axis,
    Chain,
    GatheredSets,
    Metric,
    Product,
    Stage,
    Sweep,
    Zip,
)
from opencoder_jax.sweep.planning.expansion import Arm, parse_line, sound_arms


def sweep(arms, **changes) -> Sweep:
    stages = [
        Stage("evaluate", "e", inputs={"MODEL_DIR": "anneal", "PACKED_DIR": "sets"}),
        Stage("corpus", "c", ["corpus.gin"], ["SIZE=3"], pool="data"),
        Stage("other_corpus", "c"),
        Stage("packed", "p", inputs={"INPUT_DIR": "corpus/documents"}),
        GatheredSets("sets", {"code": "packed"}),
        Stage("pretrain", "t", inputs={"PACKED_DIR": "sets"}, output="MODEL_DIR", seed="SEED"),
        Stage("anneal", "t", inputs={"PACKED_DIR": "sets", "START": "pretrain"}, seed="SEED"),
        Stage("export", "x", inputs={"MODEL_DIR": "anneal"}),
    ]
    settings = {"stages": stages, "metrics": [Metric("evaluate", "bits_per_byte", "code")]}
    return Sweep("test", "?", arms=arms, **settings | changes)


def expand(sweep: Sweep) -> list[Arm]:
    arms, mistakes = sound_arms(sweep)
    if mistakes:
        raise InputError("\n".join(mistakes))
    return arms


def names(arms, **changes) -> list[str]:
    return [arm.name for arm in expand(sweep(arms, **changes))]


RATES = Axis("pretrain", "optimizers.AdamW.LR", [1e-3, 3e-4])
LEVELS = Arms({"file": {}, "chunk": {"corpus": ["chunk.gin"]}})


def test_sources_are_combined():
    assert names(LEVELS) == ["file", "chunk"]
    assert names(RATES) == ["lr=0.001", "lr=0.0003"]
    assert names(Product([LEVELS, RATES])) == [
        *("file+lr=0.001", "file+lr=0.0003", "chunk+lr=0.001", "chunk+lr=0.0003")
    ]
    assert names(Zip([LEVELS, RATES])) == ["file+lr=0.001", "chunk+lr=0.0003"]
    assert names(Chain([RATES, LEVELS])) == ["lr=0.001", "lr=0.0003", "file", "chunk"]
    named = Axis("corpus", "SOURCE", {"all": "a/b c", "none": None}, name="from")
    assert names(named) == ["from=all", "from=none"]
    [arm, other] = expand(sweep(named))
    assert arm.changes == {"corpus": ["SOURCE='a/b c'"]}
    assert other.changes == {"corpus": ["SOURCE=None"]}
    texts = Axis("corpus", "X", ["%MACRO", "a b/c", 1e-17, True, -2, 0.1 + 0.2])
    assert names(texts) == [
        *("x=MACRO", "x=a_b_c", "x=1e-17", "x=True", "x=-2", "x=0.30000000000000004")
    ]
    assert expand(sweep(texts))[0].changes == {"corpus": ["X=%MACRO"]}


def test_the_baseline_comes_first():
    assert names(Product([LEVELS, RATES]), baseline="chunk+lr=0.001")[0] == "chunk+lr=0.001"


def test_an_arm_has_the_stages_that_its_metrics_need_inputs_first():
    [arm] = expand(sweep(Arms({"base": {}})))
    assert list(arm.stages) == ["corpus", "packed", "sets", "pretrain", "anneal", "evaluate"]
    changes = {
        "evaluate": ["MODEL_DIR <- pretrain", "extra.gin", " LIMIT = 3 "],
        "packed": ["INPUT_DIR <- other_corpus/stage1"],
        "sets": ["more <- corpus/packed"],
        "corpus": ["SIZE=4"],
    }
    [arm] = expand(sweep(Arms({"base": changes})))
    assert list(arm.stages) == ["corpus", "other_corpus", "packed", "sets", "pretrain", "evaluate"]
    assert arm.stages["evaluate"].gin_files == ("extra.gin",)
    assert arm.stages["evaluate"].bindings == {"LIMIT": "3"}
    assert arm.stages["packed"].inputs == {"INPUT_DIR": "other_corpus/stage1"}
    assert arm.stages["sets"].inputs == {"code": "packed", "more": "corpus/packed"}
    assert arm.stages["corpus"].bindings == {"SIZE": "4"}
    [arm] = expand(sweep(Arms({"base": {"anneal": ["START <-"]}}), keep=["export"]))
    assert list(arm.stages) == ["corpus", "packed", "sets", "anneal", "evaluate", "export"]
    [arm] = expand(sweep(Arms({"base": {"anneal": ["START='/a/model'"]}})))
    assert "pretrain" not in arm.stages
    assert arm.stages["anneal"].bindings == {"START": "'/a/model'"}


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (Arms({}), "Arms has no arms"),
        (Product([]), "Product has no arms"),
        (Zip([LEVELS, Axis("corpus", "X", [1])]), r"Zip of \[2, 1\] arms"),
        (Axis("corpus", "X", [1, 1]), "are not different"),
        (Chain([LEVELS, LEVELS]), "arm 'file' is there 2 times\narm 'chunk' is there 2 times"),
        (Product([RATES, RATES]), "both parts change optimizers.AdamW.LR of stage 'pretrain'"),
        (Arms({"a/b": {}}), "arm 'a/b': expected letters"),
        (Arms({"a": {"corpsu": ["x.gin"]}}), "arm a: stage 'corpsu' is none of the sweep's"),
        (Arms({"a": {"export": ["x.gin"]}}), "changes stage 'export', which it does not run"),
        (Arms({"a": {"corpus": ["x.gni"]}}), "line 'x.gni': expected a gin file"),
        (Arms({"a": {"corpus": ["OUTPUT_DIR=x"]}}), "OUTPUT_DIR is the stage's output"),
        (Arms({"a": {"pretrain": ["SEED=1"]}}), "SEED is the stage's seed"),
        (Arms({"a": {"sets": ["X=1"]}}), "it gathers sets, expected lines SET <- stage"),
        (Arms({"a": {"packed": ["INPUT_DIR <- corpis"]}}), "has input 'corpis', which is no stage"),
        (Arms({"a": {"packed": ["OTHER <-"]}}), "the stage has no input OTHER"),
        (Arms({"a": {"corpus": ["X=1", "X=2"]}}), "'X=2': another line changes X, too"),
        (Arms({"a": {"corpus": ["a.B.c=1", "B.c=2"]}}), "'B.c=2': another line changes B.c, too"),
        (
            Product([RATES, Axis("pretrain", "AdamW.LR", [1, 2], name="x")]),
            "both parts change AdamW.LR of stage 'pretrain'",
        ),
        (Axis("corpus", "X", {"a/b": 1, "c,d": 2}), "arm 'x=a/b': .*\narm 'x=c,d': expected"),
        (
            Arms({"a": {"corpus": ["FROM <- packed"]}}),
            "inputs go in a circle: packed <- corpus <- packed",
        ),
    ],
)
def test_mistakes(arms, message):
    with pytest.raises(InputError, match=message):
        expand(sweep(arms))


def test_all_mistakes_are_told_once_for_all_arms():
    arms = Arms({"base": {}, **{f"a{i}": {"corpsu": []} for i in range(6)}, "b": {"sets": ["x"]}})
    with pytest.raises(InputError) as raised:
        expand(sweep(arms))
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == [
        *("arms a0, a1, a2, a3 and 2 more", "arm b")
    ]
    with pytest.raises(InputError, match="baseline 'c' is no arm; arms: file, chunk"):
        expand(sweep(LEVELS, baseline="c"))
    with pytest.raises(InputError, match="a metric names stage 'evalute'; stages: evaluate, "):
        expand(sweep(LEVELS, metrics=[Metric("evalute", "loss")]))
    with pytest.raises(InputError, match="keep names stage 'exprot'"):
        expand(sweep(LEVELS, keep=["exprot"]))


def test_a_setting_may_be_spelled_with_its_module_or_without():
    spelling = [
        Stage(
            "e", "e", (), ["A.x=1", "s/A.x=2"], {"m.B.dir": "c"}, output="D.out", seed="m.t.seed"
        ),
        Stage("c", "c"),
    ]

    def arm(*lines: str) -> Arm:
        changed = Arms({"a": {"e": lines}})
        [made] = expand(sweep(changed, stages=spelling, metrics=[Metric("e", "loss")]))
        return made

    made = arm("m.A.x=3", "B.dir='/d'").stages["e"]
    assert made.bindings == {"s/A.x": "2", "m.A.x": "3", "B.dir": "'/d'"}
    assert made.inputs == {}
    assert arm("B.dir <- c/sub").stages["e"].inputs == {"B.dir": "c/sub"}
    assert arm("AA.x=3").stages["e"].bindings == {"A.x": "1", "s/A.x": "2", "AA.x": "3"}
    with pytest.raises(InputError, match=r"t\.seed is the stage's seed"):
        arm("t.seed=3")
    with pytest.raises(InputError, match=r"x\.D\.out is the stage's output"):
        arm("x.D.out='/o'")


def test_lines():
    assert parse_line("a/b.gin").kind == "file"
    assert parse_line("s/module.f.x = [1, 2]") == ("binding", "s/module.f.x", "[1, 2]")
    assert parse_line("A<-b/c/") == ("input", "A", "b/c")
    for wrong in ("", "a b.gin", "=3", "A=", "<- b"):
        with pytest.raises(InputError, match="expected a gin file"):
            parse_line(wrong)
