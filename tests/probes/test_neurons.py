"""Neurons: activations as they are computed one at a time, Probeless as it is published, planted ones are found."""

import itertools
import json
import os
import signal
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

import hand_set
from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.asking import Place, score_facts
from lorebridge.probes.facts import build_facts
from lorebridge.probes.models import encode, load_tokenizer
from lorebridge.probes.neurons import (
    BYTES_AT_ONCE,
    Spool,
    Top,
    ablate,
    activations,
    bin_scores,
    common_references,
    matched,
    probeless,
    score_neurons,
    silenced,
)

ASKING = {"decode": "simultaneous", "lengths": "gold", "space": "vocabulary", "bare": "drop"}
KNOBS = {"top": 1, "least": 5, "reference": "right", "references": 100, "bins": 16, "binning": "contiguous", "cases": 2}
# Six people are spelt alike in both languages, six are not.
SUBJECTS = {"en": [f"p{i}" for i in range(12)], "de": [f"p{i}" if i < 6 else f"q{i}" for i in range(12)]}
CITIES = ["paris", "rome", "oslo"]


def neurox(vectors, tag):
    """Scores of the neurons for a label, as ``neurox.interpretation.probeless.get_tag_wise_ranking`` sums them.

    (NeuroX, Dalvi et al., ACL 2023 demonstrations; here a label has one vector, which is its own mean.)
    """
    summation = np.zeros_like(vectors[tag])
    for other, vector in vectors.items():
        if other != tag:
            summation = summation + np.abs(vectors[tag] - vector)
    return summation


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n", [2, 3, 11])
def test_probeless_is_that_of_neurox_over_the_number_of_other_facts(n, tied):
    rng = np.random.default_rng(n)
    values = (rng.integers(0, 3, (n, 40)) if tied else rng.normal(size=(n, 40))).astype(np.float32)
    found = probeless(values, np.ones(n, bool))
    vectors = dict(enumerate(values.astype(np.float64)))
    for fact in range(n):
        expected = neurox(vectors, fact)
        np.testing.assert_allclose(found[fact] * (n - 1), expected, atol=1e-9)
        if not tied:
            best = Top(1, 10)
            best.add(0, found[[fact]])
            np.testing.assert_array_equal(best.neurons[0], np.argsort(expected)[::-1][:10])


def test_the_best_neurons_are_those_that_neurox_itself_finds():
    """``pip install --no-deps neurox==1.0.9``: an oracle for this alone, and no requirement."""
    oracle = pytest.importorskip("neurox.interpretation.probeless", reason="NeuroX is no requirement")
    rng = np.random.default_rng(7)
    values = rng.normal(size=(13, 200)).astype(np.float32)
    labels = np.arange(13)
    best = Top(13, 50)
    for start in range(0, 200, 60):
        best.add(start, probeless(values[:, start : start + 60], np.ones(13, bool)))
    for fact in labels:
        ranking = oracle.get_neuron_ordering_for_tag(values.astype(np.float64), labels, {"fact": fact}, "fact")
        assert best.neurons[fact].tolist() == ranking[:50]


def test_references_alone_are_compared_with_and_none_with_itself():
    rng = np.random.default_rng(0)
    values, reference = rng.normal(size=(9, 20)), np.arange(9) % 2 == 0
    found = probeless(values, reference)
    for fact in range(9):
        others = [other for other in range(0, 9, 2) if other != fact]
        np.testing.assert_allclose(found[fact], np.abs(values[fact] - values[others]).mean(axis=0))


def test_equal_scores_go_by_number_over_blocks():
    best = Top(2, 3)
    best.add(0, np.array([[0.0, 1, 1], [0, 0, 0]]))
    best.add(3, np.array([[1.0, 2], [0, 0]]))
    assert best.neurons.tolist() == [[4, 1, 2], [0, 1, 2]] and best.scores[0].tolist() == [2, 1, 1]


def test_a_block_at_a_time_finds_what_all_at_once_finds(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, 50)).astype(np.float32)
    found = []
    for at_once in (2**20, 7 * 96 * 8):
        with (tmp_path / str(at_once)).open("w+b") as file:
            spool = Spool(file, 7, 50, at_once)
            for row in (3, 0, 6, 1, 2, 5, 4):
                spool.put(row, values[row])
            blocks = dict(spool.blocks())
            best = Top(7, 5)
            for start, block in blocks.items():
                best.add(start, probeless(block, np.ones(7, bool)))
            found.append(best.neurons)
            np.testing.assert_array_equal(np.concatenate(list(blocks.values()), axis=1), values)
    assert len(blocks) == 7
    np.testing.assert_array_equal(*found)


def test_bins_lie_beside_each_other_or_apart():
    scores = np.arange(12.0).reshape(2, 6)
    mean, most = bin_scores(scores, 3, "contiguous")
    assert mean.tolist() == [[0.5, 2.5, 4.5], [6.5, 8.5, 10.5]] and most.tolist() == [[1, 3, 5], [7, 9, 11]]
    mean, most = bin_scores(scores, 3, "strided")
    assert mean.tolist() == [[1.5, 2.5, 3.5], [7.5, 8.5, 9.5]] and most.tolist() == [[3, 4, 5], [9, 10, 11]]


SHAPE = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
MODELS = {
    "xlm-r": lambda: XLMRobertaForMaskedLM(XLMRobertaConfig(**SHAPE, intermediate_size=24)),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=40, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
    ),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, num_key_value_heads=1, intermediate_size=24)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=1, intermediate_size=24)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_activations_are_those_behind_the_activation_function(kind):
    """By hand, from what each feed-forward layer is given: behind the GELU, or the product of gate and value."""
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    layers = {
        "xlm-r": lambda: [layer.intermediate for layer in model.roberta.encoder.layer],
        "distilbert": lambda: [layer.ffn.lin1 for layer in model.transformer.layer],
        "qwen2": lambda: [layer.mlp for layer in model.model.layers],
        "llama": lambda: [layer.mlp for layer in model.model.layers],
    }[kind]()
    places = [Place([5, 6 + i, *range(8, 8 + i), 9, 4], 1, 1 + i % 3) for i in range(5)]

    def by_hand(place):
        said = []
        hooks = [
            layer.register_forward_hook(lambda module, given, out: said.append((module, given[0], out)))
            for layer in layers
        ]
        with torch.no_grad():
            model(input_ids=torch.tensor([place.tokens]))
            for hook in hooks:
                hook.remove()
            values = []
            for module, given, out in said:
                if kind == "xlm-r":
                    own = out
                elif kind == "distilbert":
                    own = torch.nn.functional.gelu(out)
                else:
                    own = torch.nn.functional.silu(module.gate_proj(given)) * module.up_proj(given)
                values.append(own[0, place.first : place.first + place.count].mean(dim=0))
        return torch.cat(values).numpy()

    for batch_tokens in (1, 1000):
        found = np.zeros((5, 48), np.float32)
        for members, values in activations(model, places, padding=1, batch_tokens=batch_tokens):
            found[members] = values
        for row, place in enumerate(places):
            np.testing.assert_allclose(found[row], by_hand(place), atol=1e-5)
    with silenced(model, [3, 24 + 5]):
        [(_, cut)] = activations(model, places[:1], padding=1, batch_tokens=100)
    assert len(hooks_of(model)) == 0
    np.testing.assert_allclose(cut[0, :3], found[0, :3], atol=1e-5)  # nothing changes before what is silenced


def hooks_of(model):
    return [hook for module in model.modules() for hook in module._forward_pre_hooks]


def test_what_is_silenced_is_nothing_to_the_layer_that_reads_it():
    torch.manual_seed(0)
    model = MODELS["qwen2"]().eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad(), silenced(model, [3, 7, 24]):
        found = model(ids).logits
    with torch.no_grad():
        assert (model(ids).logits - found).abs().max() > 1e-6
        for layer, own in ((0, [3, 7]), (1, [0])):
            model.model.layers[layer].mlp.down_proj.weight[:, own] = 0
        torch.testing.assert_close(model(ids).logits, found)


def test_a_model_of_another_build_is_refused():
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=40))
    with pytest.raises(InputError, match="feed-forward layers are not among those that are known"):
        next(activations(model, [Place([1, 2], 0, 1)], padding=0, batch_tokens=10))


def test_random_neurons_are_of_the_layer_and_as_large_and_others():
    rng = np.random.default_rng(0)
    sizes = rng.exponential(size=(3, 200))
    neurons = np.concatenate([layer * 200 + rng.choice(200, 20, replace=False) for layer in (0, 2)])
    found = matched(sizes, neurons, 5, rng)
    assert len(set(found) | set(neurons)) == 80
    np.testing.assert_array_equal(found // 200, neurons // 200)
    assert np.abs(sizes.ravel()[found] - sizes.ravel()[neurons]).mean() < 0.1
    assert len({tuple(matched(sizes, neurons, 5, rng)) for _ in range(10)}) == 10


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The facts in two languages, and what a model with hand-set neurons says of them."""
    folder = tmp_path_factory.mktemp("neurons")
    answers = {name: CITIES[i % 3] for lang in SUBJECTS for i, name in enumerate(SUBJECTS[lang])}
    hand_set.give_model(folder / "model", answers, ["was", "born", "in", ".", "kommt", "aus"])
    for lang, template in (("en", "[X] was born in [Y] ."), ("de", "[X] kommt aus [Y] .")):
        (folder / "mlama" / lang).mkdir(parents=True)
        row = json.dumps({"relation": "P19", "template": template})
        (folder / "mlama" / lang / "templates.jsonl").write_text(row + "\n")
        rows = [
            {"sub_uri": f"Q{i}", "obj_uri": f"C{i % 3}", "sub_label": name, "obj_label": CITIES[i % 3], "uuid": f"u{i}"}
            for i, name in enumerate(SUBJECTS[lang])
        ]
        (folder / "mlama" / lang / "P19.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {name: folder / f"{name}.parquet" for name in ("facts", "scores", "neurons", "bins", "silenced")}
    build_facts(shape="mlama", langs=["en", "de"], folder=folder / "mlama", out=files["facts"])
    score_facts(
        run="hand",
        checkpoints=[(None, folder / "model")],
        facts=files["facts"],
        out=files["scores"],
        batch_tokens=64,
        **ASKING,
    )
    return folder / "model", files


def find(asked, out, languages=("en", "de"), **knobs):
    folder, files = asked
    return score_neurons(
        run="hand",
        checkpoints={"": folder},
        facts=files["facts"],
        scores=knobs.pop("scores", files["scores"]),
        languages=languages,
        out=out,
        bins_out=knobs.pop("bins_out", files["bins"]),
        bare="drop",
        batch_tokens=64,
        **{**KNOBS, **knobs},
    )


@pytest.mark.parametrize("reference", ["right", "common"])
def test_planted_neurons_are_found(asked, tmp_path, reference):
    _, files = asked
    assert tables.read(files["scores"])["exact"].eq(1).all()
    notes = find(asked, tmp_path / "n.parquet", reference=reference)
    assert notes == {"facts": 24, "too few": 0, "unread": 0}
    found = tables.read(tmp_path / "n.parquet").set_index(["lang", "fact_id"])
    assert (found["layer"] == hand_set.CARRIES).all() and (found["rank"] == 1).all()
    numbers = {name: i for i, name in enumerate(dict.fromkeys([*SUBJECTS["en"], *SUBJECTS["de"]]))}
    facts = tables.read(files["facts"])
    for row in facts.itertuples():
        assert found.loc[(row.lang, row.fact_id), "neuron"] == numbers[row.subject]
    bins = tables.read(files["bins"])
    assert set(bins.groupby(["fact_id", "lang"]).size()) == {2 * 16} and bins["fact_id"].nunique() == 2
    own = bins[(bins["layer"] == hand_set.CARRIES)].sort_values("max").groupby(["lang", "fact_id"]).tail(1)
    for row in own.itertuples():
        assert row.bin == found.loc[(row.lang, row.fact_id), "neuron"] * 16 // hand_set.WIDTH


def killed(operations, work):
    """Do some work in a process that is killed (SIGKILL) before it renames a file once too often; whether it was."""
    child = os.fork()
    if not child:
        renames = itertools.count(1)

        def hook(event, arguments):
            if event == "os.rename" and next(renames) > operations:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(sys.exc_info()[0] is not None)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)


def test_a_killed_job_goes_on_and_writes_the_same_bytes(asked, tmp_path):
    """Killed before one file or another that it would put in place, until it gets through."""
    whole, again = ({"bins_out": tmp_path / f"{name}-bins.parquet"} for name in ("whole", "again"))
    notes = find(asked, tmp_path / "whole.parquet", **whole, threads=1)
    again["work"] = tmp_path / "work"
    # Two languages, of each the bins and then the neurons are kept; at the end the two tables.
    for operations, kept in ((1, 1), (2, 2), (2, 4), (1, 4)):
        assert killed(operations, lambda: find(asked, tmp_path / "again.parquet", **again, threads=1))
        assert len(list((tmp_path / "work").glob("*.parquet"))) == kept
    assert not killed(2, lambda: find(asked, tmp_path / "again.parquet", **again, threads=1))
    for name in ("", "-bins"):
        made = [(tmp_path / f"{of}{name}.parquet").read_bytes() for of in ("whole", "again")]
        assert made[0] == made[1]
    # What is kept is not read again: with a part of it changed, the change is there.
    kept = min((tmp_path / "work").glob("*-neurons.parquet"))
    tables.write("neurons", tables.read(kept).assign(score=7.0), kept, {"identity": kept.stem.split("-")[0]})
    assert find(asked, tmp_path / "again.parquet", **again) == notes
    assert tables.read(tmp_path / "again.parquet")["score"].eq(7).sum() == 12


def test_a_relation_of_few_right_facts_says_nothing(asked, tmp_path):
    _, files = asked
    said = tables.read(files["scores"])
    german = said["lang"] == "de"
    said.loc[german, "exact"] = [1.0] * 4 + [0.0] * 8
    tables.write("fact_scores", said, tmp_path / "s.parquet")
    files_ = {"scores": tmp_path / "s.parquet"}
    assert find(asked, tmp_path / "n.parquet", **files_) == {"facts": 12, "too few": 4, "unread": 0}
    assert set(tables.read(tmp_path / "n.parquet")["lang"]) == {"en"}
    given = {"run": "hand", "checkpoints": {"": asked[0]}, "facts": files["facts"], "languages": ["en", "de"]}
    given |= {"neurons": tmp_path / "n.parquet", "out": tmp_path / "a.parquet", "batch_tokens": 64, "asking": ASKING}
    knobs = {"n_facts": 1, "draws": 1, "near": 5, "seed": 0}
    # English neurons are silenced in both languages, and there are no German ones.
    assert ablate(**given, **knobs, **files_) == {"asked": 2 * 3} and len(tables.read(tmp_path / "a.parquet")) == 2
    # Of common references there are enough, right or not.
    assert find(asked, tmp_path / "n.parquet", reference="common", **files_)["facts"] == 16
    said["exact"] = 0.0
    tables.write("fact_scores", said, tmp_path / "s.parquet")
    assert find(asked, tmp_path / "n.parquet", **files_) == {"facts": 0, "too few": 0, "unread": 0}
    assert len(tables.read(tmp_path / "n.parquet")) == 0
    assert ablate(**given, **knobs, **files_, work=tmp_path / "work") == {"asked": 0}
    assert len(tables.read(tmp_path / "a.parquet")) == 0
    assert find(asked, tmp_path / "n.parquet", languages=["en"])["facts"] == 12


def test_common_references_are_those_asked_in_most_languages(asked):
    facts = tables.read(asked[1]["facts"])
    few = facts[~((facts["lang"] == "de") & facts["subject_id"].isin(["Q0", "Q1", "Q2"]))]
    found = common_references(few, 9)
    assert found == set(few.loc[few["lang"] == "de", "fact_id"]) and len(common_references(few, 5)) == 5


def test_too_many_neurons_are_refused_and_the_advice_works(asked, tmp_path):
    with pytest.raises(InputError, match=r"neurons\.top: asks for 97 of the 192 neurons of the model\. Lower it to 96"):
        find(asked, tmp_path / "n.parquet", top=97)
    assert find(asked, tmp_path / "n.parquet", top=96)["facts"] == 24
    with pytest.raises(InputError, match=r"neurons\.bins: asks for 97, and a layer has 96 neurons\. Lower it to 96"):
        find(asked, tmp_path / "n.parquet", bins=97)
    find(asked, tmp_path / "n.parquet", bins=96)


def test_without_its_planted_neuron_a_fact_is_lost_and_without_others_it_is_not(asked, tmp_path):
    folder, files = asked
    find(asked, tmp_path / "n.parquet")
    given = {
        "run": "hand",
        "checkpoints": {"": folder},
        "neurons": tmp_path / "n.parquet",
        "languages": ["en", "de"],
        "facts": files["facts"],
        "scores": files["scores"],
        "out": files["silenced"],
        "draws": 2,
        "near": 5,
        "seed": 0,
        "batch_tokens": 64,
    }
    notes = ablate(**given, n_facts=50, asking=ASKING)
    found = tables.read(files["silenced"])
    assert notes == {"asked": 4 * 12 * 4} and len(found) == 4 * 12
    subject = tables.read(files["facts"]).drop_duplicates("fact_id").set_index("fact_id")["subject"]
    alike = found["fact_id"].map(subject).isin(SUBJECTS["de"])
    here = found["lang_cut"] == found["lang_asked"]
    # What is spelt alike has one neuron in both languages; of the others that of the other language does nothing.
    assert found.loc[here | alike, "own"].eq(1).all() and found.loc[~here & ~alike, "own"].eq(0).all()
    assert found["other"].eq(0).all() and found["random"].eq(0).all()
    # The random ones are as large where the neuron fires.
    fires = found[here | alike]
    assert (fires["size_random"] / fires["size"]).between(0.5, 2).all() and fires["size"].gt(1).all()
    first = found.set_index(["lang_cut", "lang_asked", "fact_id"])
    # What is kept of a try is not asked again: with a part of it changed, the change is there.
    ablate(**given, n_facts=50, asking=ASKING, work=tmp_path / "work")
    pd.testing.assert_frame_equal(tables.read(files["silenced"]), found)
    kept = sorted((tmp_path / "work").iterdir())
    assert len(kept) == 2
    changed = tables.read(kept[0]).assign(k=7)
    tables.write("silenced_facts", changed, kept[0], {"identity": kept[0].stem})
    ablate(**given, n_facts=50, asking=ASKING, work=tmp_path / "work")
    assert tables.read(files["silenced"])["k"].value_counts().to_dict() == {7: 24, 1: 24}
    find(asked, tmp_path / "n.parquet", top=80)
    with pytest.raises(InputError, match=r"neurons\.top, \w\w, .*: more than half of the 96 neurons of a layer"):
        ablate(**given, n_facts=1, asking=ASKING)
    find(asked, tmp_path / "n.parquet")
    ablate(**given, n_facts=5, asking={**ASKING, "space": "candidates"})
    less = tables.read(files["silenced"]).set_index(["lang_cut", "lang_asked", "fact_id"])
    assert len(less) == 4 * 5 and less["random"].eq(0).all()
    assert less.index.isin(first.index).all() and set(less.groupby("fact_id").size()) == {4}


def test_a_causal_model_is_read_before_the_object_and_only_behind_the_subject(checkpoints, tmp_path):
    folder = checkpoints[-1][1]
    (tmp_path / "mlama/en").mkdir(parents=True)
    templates = {"P1": "[X] was born in [Y] .", "P2": "[Y] is home of [X] ."}
    (tmp_path / "mlama/en/templates.jsonl").write_text(
        "".join(json.dumps({"relation": of, "template": text}) + "\n" for of, text in templates.items())
    )
    for of in templates:
        rows = [{"sub_label": f"p{i}", "obj_label": CITIES[i % 3], "uuid": f"{of}{i}"} for i in range(8)]
        (tmp_path / f"mlama/en/{of}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts, scores, out, bins = (tmp_path / f"{name}.parquet" for name in ("facts", "scores", "neurons", "bins"))
    build_facts(shape="mlama", langs=["en"], folder=tmp_path / "mlama", out=facts)
    asking = {**ASKING, "space": "candidates"}
    given = {"run": "qwen", "facts": facts, "batch_tokens": 64}
    score_facts(checkpoints=[(8, folder)], out=scores, **given, **asking)
    tables.write("fact_scores", tables.read(scores).assign(exact=1.0), scores)
    given |= {"checkpoints": {"4": tmp_path / "none", "8": folder}, "scores": scores, "languages": ["en"]}
    notes = score_neurons(**given, **{**KNOBS, "top": 4, "cases": 0, "bins": 4}, bare="drop", out=out, bins_out=bins)
    assert notes == {"facts": 8, "too few": 0, "unread": 8}
    found = tables.read(out)
    assert set(found["relation"]) == {"P1"} and found["step"].eq(8).all()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), load_tokenizer(folder)
    read = encode(tokenizer, [f"p{i} was born in" for i in range(8)])
    values = np.concatenate(
        [
            next(activations(model, [Place(ids, len(ids) - 1, 1)], padding=0, batch_tokens=9))[1].astype(float)
            for ids in read
        ]
    )
    expected = np.argsort(-np.abs(values[3] - values[[i for i in range(8) if i != 3]]).mean(axis=0))[:4]
    own = found[found["fact_id"] == tables.read(facts).query("subject == 'p3' and relation == 'P1'")["fact_id"].iloc[0]]
    width = model.config.intermediate_size
    assert (own["layer"] * width + own["neuron"]).tolist() == expected.tolist()
    done = ablate(**given, neurons=out, out=bins, n_facts=3, draws=1, near=5, seed=0, asking=asking)
    assert done == {"asked": 9} and len(tables.read(bins)) == 3


def test_the_facts_of_a_large_relation_do_not_lie_in_memory(tmp_path):
    """100,000 facts of 36,864 neurons, 15 GB, are ranked in blocks that fit; here 1/100 of it, with 1/32 of a block."""
    n, d, at_once = 10_000, 3686, BYTES_AT_ONCE // 32
    with (tmp_path / "spool").open("w+b") as file:
        spool = Spool(file, n, d, at_once)
        for fact in (*range(0, n, 50), n - 1):  # what is not written reads as 0
            spool.put(fact, np.full(d, fact, np.float32))
        best = Top(n, 50)
        tracemalloc.start()
        for start, values in spool.blocks():
            best.add(start, probeless(values, np.ones(n, bool)))
            if start > 5 * spool.width:
                break
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Beside a block there are the numbers and scores of the best so far: 80 MB of 100,000 facts, in several copies.
    assert peak < at_once + 6 * n * 50 * 16, peak
    assert n * d * 4 > 8 * at_once
