import jax
import pytest

from opencoder_jax.model.config import ModelConfigError, TransformerConfig
from opencoder_jax.model.transformer import abstract_params
from tests.opencoder_jax.model.small_models import GROUPED, TIED_MULTI_HEAD, configured_model


@pytest.mark.parametrize(
    ("name", "parameters", "papers_figure"),
    [("opencoder_1b5", 1_905_650_880, 1.906e9), ("opencoder_8b", 7_771_262_976, 7.77e9)],
)
def test_the_real_models_have_the_papers_parameter_counts(name, parameters, papers_figure):
    model = configured_model(name)

    assert model.parameter_count() == parameters
    assert model.parameter_count() == pytest.approx(papers_figure, rel=5e-4)


@pytest.mark.parametrize("model", [GROUPED, TIED_MULTI_HEAD, "opencoder_1b5", "demo"])
def test_parameter_count_is_the_number_of_parameters(model):
    config = configured_model(model) if isinstance(model, str) else model

    assert config.parameter_count() == sum(a.size for a in jax.tree.leaves(abstract_params(config)))


def test_a_config_comes_back_from_json():
    assert TransformerConfig.from_json(GROUPED.to_json()) == GROUPED


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_kv_heads": 3}, "num_kv_heads=3 does not divide num_heads=4.*1, 2, 4"),
        ({"head_dim": 7}, "head_dim=7 is odd"),
        ({"emb_dim": 0}, "emb_dim=0"),
        ({"num_layers": 2.0}, "num_layers=2.0"),
        ({"rope_theta": -1.0}, "rope_theta=-1.0"),
        ({"dtype": "float16"}, "dtype='float16'.*bfloat16, float32"),
        ({"remat_policy": "some"}, "remat_policy='some'.*full, offload"),
    ],
)
def test_impossible_dimensions_are_refused_with_the_numbers(changes, message):
    with pytest.raises(ModelConfigError, match=message):
        GROUPED.replace(**changes)


def test_json_of_another_version_says_which_fields_differ():
    value = GROUPED.to_json()
    value["dropout"] = value.pop("mlp_dim")

    with pytest.raises(ModelConfigError, match=r"unknown \['dropout'\] and missing \['mlp_dim'\]"):
        TransformerConfig.from_json(value)
