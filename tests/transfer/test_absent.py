"""Classes of facts: planted forms come back, and a class counts beside its rate among all facts."""

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.corpora.facts import read_facts
from lorebridge.probes.facts import build_facts
from lorebridge.trace.analysis import script_of
from lorebridge.transfer.absent import (
    CLASSES,
    FORM_OF,
    HOUSE,
    NAMING_CUE,
    OTHER,
    PAPER,
    SHARED_TOKENS,
    absent_facts,
    absent_of,
    classes_of,
    endings,
)
from lorebridge.unseen import alike, unseen_share
from lorebridge.world.multilingual import CUE, HOLDS, PLAIN, generate_multilingual

LANGUAGES = {"en": {"script": "Latin"}, "it": {"script": "Latin", "order": "sov"}, "ko": {"script": "Hangul"}}
SCRIPTS = {lang: said["script"] for lang, said in LANGUAGES.items()}


def words(label):
    """Pieces of four letters or fewer, as a tokenizer of words would cut long ones."""
    found = []
    for word in label.split():
        for start in range(0, len(word), 4):
            found.append((("##" if start else "") + word[start : start + 4], word[start : start + 4]))
    return found


def facts_of(*rows, lang="en"):
    return pd.DataFrame(
        [(f"f{i}", relation, lang, f"s{i}", subject, answer) for i, (relation, subject, answer) in enumerate(rows)],
        columns=["fact_id", "relation", "lang", "subject_id", "subject", "object"],
    )


def classes(facts, naming=("P103",), **scripts):
    found = {PAPER: {}, HOUSE: {}}
    for row in classes_of(facts, scripts or SCRIPTS, words, naming):
        found[row["rules"]][row["fact_id"]] = row["class"], row["rule"]
    return found


def test_the_papers_examples():
    found = classes(
        facts_of(
            ("P127", "Sega Sports R&D", "SEGA"),
            ("P103", "Go Hyeon-jeong", "Korean"),
            ("P449", "Crime & Punishment", "NBC"),
            ("P19", "Otto of Rome", "of Rome City"),
            ("P20", "The End of it", "Bay of Pigs"),
        )
    )
    for rules in (PAPER, HOUSE):
        assert found[rules]["f0"] == (SHARED_TOKENS, "substring")
        assert found[rules]["f1"] == (NAMING_CUE, "relation") and found[rules]["f2"] == (OTHER, "none")
        assert found[rules]["f3"] == (SHARED_TOKENS, "pieces")
    # "of" is a piece of both labels, and tells nothing.
    assert found[PAPER]["f4"] == (SHARED_TOKENS, "pieces") and found[HOUSE]["f4"] == (OTHER, "none")


def test_shapes_and_scripts_of_a_letter_are_one():
    found = classes(facts_of(("P17", "臺北市", "台北"), lang="zh"), zh="Han")
    assert found[PAPER]["f0"] == found[HOUSE]["f0"] == (SHARED_TOKENS, "substring")
    found = classes(facts_of(("P17", "Ｒｏｍａ Nord", "roma")))
    assert found[HOUSE]["f0"] == (SHARED_TOKENS, "substring") and found[PAPER]["f0"][0] == OTHER


def test_a_frequent_piece_tells_nothing_by_our_rules():
    facts = facts_of(*((f"P{i}", f"city{chr(97 + i)}x", f"city{chr(97 + i)}y") for i in range(20)))
    found = classes(facts)
    assert set(found[PAPER].values()) == {(SHARED_TOKENS, "pieces")} and set(found[HOUSE].values()) == {(OTHER, "none")}


def test_an_ending_is_learned_from_other_subjects():
    subjects = ["a ova", "b ova", "c ova", "d son", "e son", "lonely"]
    answers = ["russian", "russian", "russian", "swede", "dane", "dane"]
    assert endings(subjects, answers, script_of("Latin")) == ["russian"] * 3 + [None] * 3
    # Half of the others is not more than half.
    subjects = ["a ova", "b ova", "c ova", "d ova", "e ova"]
    answers = ["russian", "russian", "dane", "swede", "russian"]
    assert endings(subjects, answers, script_of("Latin")) == [None, None, "russian", "russian", None]


def test_planted_forms_come_back(tmp_path):
    generate_multilingual(
        out=tmp_path, base="en", languages=LANGUAGES, subjects=240, relations=2, objects=6, doses=[1], remarks=1,
        subject_contains_object=0.2, naming_cue=0.3,
    )  # fmt: skip
    facts = pd.DataFrame([vars(fact) for fact in read_facts("planted", tmp_path / "facts", list(LANGUAGES)).facts])
    found = pd.DataFrame(classes_of(facts, SCRIPTS, words, [])).merge(
        tables.read(tmp_path / "forms.parquet"), on="fact_id"
    )
    assert found.groupby("form").size().to_dict() == {HOLDS: 48 * 6, CUE: 72 * 6, PLAIN: 360 * 6}
    house = found[found["rules"] == HOUSE]
    for name, form, recall in ((SHARED_TOKENS, HOLDS, 1.0), (NAMING_CUE, CUE, 0.95), (OTHER, PLAIN, 0.85)):
        assert ((house["class"] == name) & (house["form"] == form)).sum() >= recall * (house["form"] == form).sum()
    # The paper has no rule for endings: it finds the cue only where its list has the relation.
    assert not ((found["rules"] == PAPER) & (found["class"] == NAMING_CUE)).any()


def drawn(rng, rates, absent=0.5, n=600):
    """Facts of three classes, right by the rate of their class where absent."""
    names = rng.choice(CLASSES, n, p=[0.2, 0.1, 0.7])
    away = rng.random(n) < absent
    right = rng.random(n) < np.where(away, np.array([rates[name] for name in names]), 0.8)
    return pd.DataFrame(
        {"subject_id": [f"s{i // 2}" for i in range(n)], "class": names, "absent": away, "right": right}
    )


def test_planted_shares_are_covered_and_a_rate_of_its_own_is_no_enrichment():
    rng = np.random.default_rng(0)
    rates = {SHARED_TOKENS: 0.6, NAMING_CUE: 0.3, OTHER: 0.1}
    true = 0.2 * 0.6 / (0.2 * 0.6 + 0.1 * 0.3 + 0.7 * 0.1)
    covered, alike = [], []
    for _ in range(40):
        rows = {row["class"]: row for row in absent_of(drawn(rng, rates), 200, 0)}
        covered.append(rows[SHARED_TOKENS]["lo"] <= true <= rows[SHARED_TOKENS]["hi"])
        assert rows[SHARED_TOKENS]["enrichment_lo"] > 1 > rows[OTHER]["enrichment_hi"]
        assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
        same = {row["class"]: row for row in absent_of(drawn(rng, dict.fromkeys(CLASSES, 0.3)), 200, 0)}
        alike.append(same[SHARED_TOKENS]["enrichment_lo"] <= 1 <= same[SHARED_TOKENS]["enrichment_hi"])
    assert np.mean(covered) >= 0.85 and np.mean(alike) >= 0.85


def test_what_no_subject_has_shown_may_yet_be():
    """All that is absent and right is of one class, and no resample is otherwise."""
    table = drawn(np.random.default_rng(0), {SHARED_TOKENS: 0.0, NAMING_CUE: 0.0, OTHER: 0.3})
    rows = {row["class"]: row for row in absent_of(table, 200, 0)}
    sizes = table[table["absent"] & table["right"]].groupby("subject_id").size().to_numpy()
    unseen = unseen_share(alike(sizes))
    assert (rows[OTHER]["share"], rows[OTHER]["hi"]) == (1, 1) and rows[OTHER]["lo"] == pytest.approx(1 - unseen)
    assert rows[NAMING_CUE]["lo"] == 0 and rows[NAMING_CUE]["hi"] == pytest.approx(unseen)
    for row in rows.values():  # the ratio goes as far as the share alone lets it
        assert row["enrichment_lo"] <= row["lo"] / row["base_rate"] <= row["hi"] / row["base_rate"]
        assert row["hi"] / row["base_rate"] <= row["enrichment_hi"] + 1e-12


def test_what_missed_tracing_would_give_is_counted():
    """A model that knows what is stated and nothing else, and tracing that misses a third of it."""
    rng = np.random.default_rng(0)
    n = 6000
    is_stated = rng.random(n) < 0.6
    absent = ~(is_stated & (rng.random(n) < 2 / 3))
    names, right = rng.choice(CLASSES, n), is_stated & (rng.random(n) < 0.7)
    table = pd.DataFrame(
        {"subject_id": [f"s{i}" for i in range(n)], "class": names, "absent": absent, "right": right,
         "stated": is_stated, "form": [FORM_OF[name] for name in names]}
    )  # fmt: skip
    rows = list(absent_of(table, 100, 0))
    assert sum(row["missed"] for row in rows) == pytest.approx(sum(row["n_absent_right"] for row in rows), rel=0.08)
    for row in rows:
        assert row["recall"] == pytest.approx(2 / 3, abs=0.03)
        assert row["stated"] == row["n_absent_right"] == row["planted_absent_right"]


def test_nothing_right_leaves_no_share():
    table = drawn(np.random.default_rng(0), dict.fromkeys(CLASSES, 0.0), n=40)
    for row in absent_of(table, 100, 0):
        assert row["share"] is None and row["lo"] is None and row["enrichment"] is None and row["n_absent_right"] == 0
        assert row["recall"] is None and "stated" not in row


def test_the_table_joins_models_units_and_truth(tmp_path):
    languages = {lang: LANGUAGES[lang] for lang in ("en", "it")}
    generate_multilingual(
        out=tmp_path / "world", base="en", languages=languages, subjects=20, relations=1, objects=4, doses=[1]
    )
    facts = tmp_path / "facts.parquet"
    build_facts(shape="planted", langs=list(languages), folder=tmp_path / "world/facts", out=facts)
    asked = tables.read(facts)
    truth = tables.read(tmp_path / "world/truth.parquet").set_index(["question_id", "corpus"])["n_statements"] > 0
    here = [bool(truth[key]) for key in zip(asked["fact_id"], asked["lang"], strict=True)]
    told = asked[["fact_id", "lang", "relation"]]
    scores = told.assign(
        run="m", step=pd.array([5] * len(told), "Int32"), decode="d", lengths="gold", space="s", n_masks=1,
        n_candidates=4, exact=1.0, filtered=1.0, gold_logprob=0.0, gold_rank=1.0, best_candidate="", remark=None,
    )  # fmt: skip
    tables.write("fact_scores", scores, tmp_path / "scores.parquet")
    counts = {"n_subject": 1, "n_object": 1, "n_cooccur": 1, "present": here}
    units = [told.assign(unit="window", run=None, **counts), told.assign(unit="presentation", run="other", **counts)]
    tables.write("origins", pd.concat(units), tmp_path / "origins.parquet")
    tables.write("fact_classes", list(classes_of(asked, SCRIPTS, words, [])), tmp_path / "classes.parquet")
    absent_facts(
        scores=[tmp_path / "scores.parquet"], facts=facts, classes=tmp_path / "classes.parquet",
        origins=tmp_path / "origins.parquet", resamples=100, seed=0, truth=tmp_path / "world/truth.parquet",
        forms=tmp_path / "world/forms.parquet", out=tmp_path / "absent.parquet",
    )  # fmt: skip
    found = tables.read(tmp_path / "absent.parquet")
    # What another run consumed says nothing of this one.
    assert set(found["unit"]) == {"window"} and len(found) == 3 * 2 * 3
    whole = found[found["lang"].isna() & (found["rules"] == HOUSE)]
    assert whole["n_absent_right"].sum() == here.count(False) and whole["stated"].sum() == 0
    assert whole["missed"].tolist() == [0.0] * 3
