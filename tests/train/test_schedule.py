"""Learning rates and parameter groups."""

import pytest

from lorebridge.errors import InputError
from lorebridge.train.model import build, qwen2_config
from lorebridge.train.schedule import Schedule, parameter_groups


def test_the_papers_warm_up_and_ours_default_decay():
    schedule = Schedule(lr=1e-4, min_lr=1e-5, warmup_ratio=0.01, schedule="cosine")
    rates = [schedule.at(step, 1500) for step in range(1500)]
    assert rates[0] == pytest.approx(1e-4 / 15)
    assert rates[14] == max(rates) == 1e-4
    assert rates[-1] == pytest.approx(1e-5)
    assert rates[14:] == sorted(rates[14:], reverse=True)
    assert rates[14 + 1485 // 2] == pytest.approx((1e-4 + 1e-5) / 2, rel=0.01)


def test_linear_and_constant():
    linear = Schedule(lr=1.0, min_lr=0.0, warmup_ratio=0.2, schedule="linear")
    assert [linear.at(step, 10) for step in (0, 1, 5, 9)] == [0.5, 1.0, 0.5, 0.0]
    constant = Schedule(lr=1.0, min_lr=0.1, warmup_ratio=0.2, schedule="constant")
    assert [constant.at(step, 10) for step in (0, 1, 5, 9)] == [0.5, 1.0, 1.0, 1.0]


def test_no_warm_up_and_only_warm_up():
    assert Schedule(lr=1.0, schedule="constant").at(0, 3) == 1.0
    assert [Schedule(lr=1.0, warmup_ratio=1.0).at(step, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_unknown_schedule():
    with pytest.raises(InputError, match="cosin"):
        Schedule(lr=1.0, schedule="cosin")


@pytest.mark.parametrize("tied", [True, False])
def test_norms_biases_and_embeddings_do_not_decay(tied):
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "tie_word_embeddings": tied,
    }
    model = build(qwen2_config(sizes, 30, 0), seed=0)
    decayed, kept = parameter_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert all(names[id(p)].endswith("proj.weight") for p in decayed["params"])
    assert len(decayed["params"]) == 2 * 7
    assert {names[id(p)].rsplit(".", 2)[-2] for p in kept["params"]} >= {"embed_tokens", "norm", "q_proj"}
    assert sorted(names) == sorted(id(p) for p in [*decayed["params"], *kept["params"]])
    same, others, own = parameter_groups(model, 0.1, embedding_lr=10)
    assert [id(p) for p in same["params"]] == [id(p) for p in decayed["params"]]
    assert {names[id(p)] for p in own["params"]} >= {"model.embed_tokens.weight"} and own["weight_decay"] == 0
    assert all("embed" in names[id(p)] or "lm_head" in names[id(p)] for p in own["params"])
    assert sorted(names) == sorted(id(p) for p in [*same["params"], *others["params"], *own["params"]])
    assert [group.get("factor", 1) for group in (same, others, own)] == [1, 1, 10]
