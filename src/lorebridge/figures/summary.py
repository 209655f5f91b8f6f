"""The tables of a study: the paper's Tables 1, 2 and 3 with its values beside ours, and those that it lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import tables
from lorebridge.figures.effects import direction_label, published
from lorebridge.figures.write import final_checkpoints, write_table
from lorebridge.probes import decisions
from lorebridge.probes.prefixes import behind, in_order, prefix_phrase
from lorebridge.probes.questions import in_subset
from lorebridge.tokens.tokenizer import load_tokenizer
from lorebridge.trace.density import EXACT
from lorebridge.transfer.accuracies import EVERY, of_arms
from lorebridge.transfer.contrasts import ALL
from lorebridge.transfer.credits import LAST, directions
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY
from lorebridge.transfer.items import PAPER, occurrence_means
from lorebridge.transfer.power import detectable_effects

CLEAN = "clean"
"""The questions that can be answered as asked; an extra where the headline is of others."""

_PAPER = "Zhang et al. (ACL 2025)"


def _beside(table: pd.DataFrame, columns: list[str], planted: bool, note: str) -> tuple[pd.DataFrame, str]:
    """Return a table with its columns of published values as numbers, and what to say of them; without, if planted."""
    return (table.drop(columns=columns), "") if planted else (table.astype(dict.fromkeys(columns, float)), note)


def accuracy(
    *,
    accuracies: Path,
    questions: Mapping[str, Path],
    base: str,
    names: Mapping[str, str],
    subset: str,
    rule: str,
    last: int,
    out: Path,
    prefix: str,
) -> None:
    """Write the accuracies over the last checkpoints beside what needs no model, in percent.

    Args:
        accuracies: table "accuracies".
        questions: culture -> table "questions".
        base: code of the base language.
        names: language code -> English name.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
        prefix: what the questions were asked behind.
    """
    table = of_arms(accuracies, subset=subset, rule=rule, prefix=prefix)
    cell = ["culture", "direction", "arm"]
    extra = of_arms(accuracies, subset=CLEAN, rule=rule, prefix=prefix) if subset != CLEAN else table.iloc[:0]
    extra = extra[(extra["step"] == LAST) & (extra["seed"] == EVERY)].set_index(cell)
    asked = pd.concat([tables.read(path) for path in questions.values()], ignore_index=True)
    without_model = decisions.baselines(asked, subset=subset).set_index(["culture", "lang", "baseline"])["accuracy"]
    rows = []
    for culture, direction, arm in table[["culture", "direction", "arm"]].drop_duplicates().itertuples(index=False):
        of_arm = table[(table["culture"] == culture) & (table["direction"] == direction) & (table["arm"] == arm)]
        lang = directions(base, culture)[direction]
        pooled = of_arm[(of_arm["step"] == LAST) & (of_arm["seed"] == EVERY)].iloc[0]
        single = of_arm[(of_arm["step"] == LAST) & (of_arm["seed"] != EVERY)]
        before = of_arm[(of_arm["step"] == 0) & (of_arm["seed"] == EVERY)]["accuracy"]
        rows.append(
            {
                "culture": names[culture],
                "asked_in": names[lang],
                "arm": arm,
                "n": pooled["n_questions"],
                "seeds": len(single),
                "before": 100 * before.mean(),
                "accuracy": 100 * pooled["accuracy"],
                "lo": 100 * pooled["lo"],
                "hi": 100 * pooled["hi"],
                **(
                    {f"n_{CLEAN}": extra.loc[at, "n_questions"], f"accuracy_{CLEAN}": 100 * extra.loc[at, "accuracy"]}
                    if (at := (culture, direction, arm)) in extra.index
                    else {}
                ),
                "of_each_seed": ", ".join(f"{100 * value:.1f}" for value in single["accuracy"]),
                "chance": 100 * pooled["chance"],
                **{
                    name: 100 * without_model[culture, lang, name]
                    for name in ("first_option", "longest_option", "majority_position")
                },
            }
        )
    one = dict.fromkeys(
        ("before", "accuracy", "lo", "hi", "chance", "first_option", "longest_option", "majority_position"), ".1f"
    )
    write_table(
        pd.DataFrame(rows),
        out,
        f"Accuracy (%), mean of {final_checkpoints(last)} and of the seeds; before: at step 0, the base model. "
        "Interval: 95 %, bootstrap over clusters of questions, given these seeds. Beside it what needs no model: "
        f"chance, always the first or the longest option, always the most frequent place. Questions: {subset}, "
        f"{prefix_phrase(prefix)}; options compared by the rule '{rule}'; ties share the credit."
        + (f" n and accuracy {CLEAN}: without the questions that cannot be answered as asked." if len(extra) else ""),
        one | {f"accuracy_{CLEAN}": ".1f"},
    )


def gaps(*, gaps: Path, names: Mapping[str, str], base: str, last: int, out: Path) -> None:
    """Write the gaps over the last checkpoints with all their intervals, in percentage points.

    Args:
        gaps: the table "gaps".
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = tables.read(gaps)
    of_seeds = (table["seed"] == "all") | ((table["scale"] == ALL) & ~table["unleaked"])
    table = table[(table["step"] == LAST) & of_seeds].drop(columns="step").replace({"lang": dict(names)})
    table["direction"] = [direction_label(direction, names[base]) for direction in table["direction"]]
    table["unleaked"] = table["unleaked"].map({True: "left out", False: "kept"})
    table = table.rename(columns={"unleaked": "leaked_questions"})
    percent = ["at_risk", "accuracy", "accuracy_reference", "gap", "lo", "hi"]
    table[percent] *= 100
    write_table(
        table,
        out,
        f"Gaps between arms (percentage points), mean of {final_checkpoints(last)}. accuracy is that of the first "
        "arm, accuracy reference that of the second (%), or what the arm itself had at step 0. scale: 'risk set' "
        "divides the gap among questions known in the source by the share of questions (at risk, %) that are known "
        "there and not answered by the second arm; 'risk set, gold - distractors' takes from it what wrong options "
        "show when each is scored as the answer, since preferences that grow alike are no facts that cross, and is the "
        "one to read. leaked questions: those whose fact the parallel text states. "
        "Intervals: 95 %; 'questions only' is a bootstrap over clusters of questions and says nothing of other seeds, "
        "its p from flipping the signs of clusters; the other adds the variance between the language's own seeds "
        "(Behrens and Fisher), and its note says what so few can tell. p holm: adjusted over languages and directions. "
        "prefix: what the questions stood behind, the start of a document alone (bare) or the label of their language.",
        dict.fromkeys(percent, ".1f") | {"p": ".3f", "p_holm": ".3f"},
    )


def prefixes(*, gaps: Path, names: Mapping[str, str], base: str, last: int, out: Path) -> None:
    """Write the gaps over the last checkpoints side by side by what the questions stood behind, in percentage points.

    Args:
        gaps: the table "gaps".
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = tables.read(gaps)
    pooled = (table["step"] == LAST) & (table["seed"] == "all") & (table["scale"] == ALL) & ~table["unleaked"]
    widest = QUESTIONS_AND_SEEDS if (table["interval"] == QUESTIONS_AND_SEEDS).any() else QUESTIONS_ONLY
    rows = table[pooled & (table["interval"] == widest)]
    cell = ["contrast", "direction", "lang"]
    found = rows[[*cell, "n_questions", "interval"]].drop_duplicates(cell).set_index(cell)
    for prefix in in_order(rows["prefix"]):
        behind_it = rows[rows["prefix"] == prefix].set_index(cell)
        for column in ("gap", "lo", "hi"):
            found[f"{column}_{prefix}"] = 100 * behind_it[column]
    found = found.reset_index().replace({"lang": dict(names)})
    found["direction"] = [direction_label(direction, names[base]) for direction in found["direction"]]
    write_table(
        found,
        out,
        f"Gaps between arms (percentage points), mean of {final_checkpoints(last)}, with the questions behind the "
        "start of a document alone (bare) and behind the label of their language (label), as the template of the pairs "
        "puts it. An arm whose training text has English behind its label only is a stranger to bare English: a gap "
        "that is there behind one prefix and not behind the other is one of format. Intervals: 95 %.",
        dict.fromkeys(found.columns[5:], ".1f"),
    )


def consistency(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    base: str,
    names: Mapping[str, str],
    subset: str,
    rule: str,
    last: int,
    out: Path,
    prefix: str,
) -> None:
    """Write how alike each arm's models rank the options in the two languages: RankC (Qi et al., EMNLP 2023).

    Args:
        scores: tables "scores", one a run.
        questions: culture -> table "questions".
        base: code of the base language.
        names: language code -> English name.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
        prefix: what the questions were asked behind.
    """
    asked = pd.concat([tables.read(path) for path in questions.values()], ignore_index=True)
    of_runs = [decisions.consistency(tables.read(path), asked, subset=subset, base=base, rule=rule) for path in scores]
    table = behind(pd.concat(of_runs, ignore_index=True), prefix, "scores")
    final = table.groupby("run")["step"].transform(lambda steps: steps >= sorted(steps.unique())[-last])
    by = ["culture", "arm"]
    rows = table[final].groupby(by, sort=False)[["n_questions", "rankc", "chance"]].mean()
    rows.insert(1, "before", table[table["step"] == 0].groupby(by)["rankc"].mean())
    rows = rows.reset_index().replace({"culture": dict(names)})
    write_table(
        rows.astype({"n_questions": int}),
        out,
        f"RankC: how alike the options of a question are ranked in its two languages, rightly or not; 1 is the same "
        f"order. Mean of {final_checkpoints(last)} and of the seeds; before: at step 0, the base model; chance: two "
        f"unrelated rankings. Questions: {subset}, {prefix_phrase(prefix)}; options compared by the rule '{rule}'.",
        dict.fromkeys(("before", "rankc", "chance"), ".3f"),
    )


def power(
    *,
    questions: Mapping[str, Path],
    names: Mapping[str, str],
    subset: str,
    discordance: float,
    seed_sd: float,
    n_seeds: int,
    out: Path,
) -> pd.DataFrame:
    """Write and return the smallest gap that each culture's questions can show, in percentage points.

    Args:
        questions: culture -> table "questions".
        names: language code -> English name.
        subset: which questions count.
        discordance: share of questions that exactly one of two models answers.
        seed_sd: assumed standard deviation of a gap between seeds, in 0..1.
        n_seeds: number of seeds of each arm.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = detectable_effects(
        questions=questions, subset=subset, discordance=discordance, seed_sd=seed_sd, seeds=n_seeds
    )
    table["culture"] = table["culture"].map(dict(names))
    effects = ["half_width", "detectable_effect", "detectable_effect_clustered", "detectable_effect_seeds"]
    table[effects] *= 100
    write_table(
        table,
        out,
        f"Smallest gap that can be seen (percentage points), were {100 * discordance:g} % of the questions answered by "
        "exactly one of two models: half-width of a 95 % interval, and effect found with 80 % power at 5 %, of two "
        "models, given these seeds, with independent questions and with those of a cluster answered alike; with seeds: "
        f"of two arms with {n_seeds} seeds whose gaps have an assumed standard deviation of {100 * seed_sd:g} points, "
        "seen in a language's own seeds alone; none where no gap is found so often. One seed says nothing of two arms.",
        dict.fromkeys(effects, ".1f"),
    )
    return table


def density(*, density: Path, names: Mapping[str, str], base: str, planted: bool, out: Path) -> None:
    """Write Table 1 of the paper: how densely the two corpora state a culture's facts, the paper's values beside.

    The paper's cultural density is "the count of knowledge appearance" over "the total number of documents in the
    corpus" (section 4): that is the column ``per_document``, with its interval. Those per chunk and per token count
    the chunks that state a fact.

    Args:
        density: the table "density".
        names: language code -> English name.
        base: code of the base language.
        planted: whether the text is a planted world, beside which the paper's values would say nothing.
        out: path without suffix; .csv, .md and .tex are written.
    """
    key = ["culture", "corpus", "method", "judge", "includes_parallel"]
    of_all = tables.read(density)
    of_documents = of_all[of_all["unit"] == "document"]
    for unit in ("chunk", "token"):
        beside = of_all.loc[of_all["unit"] == unit, [*key, "density"]].rename(columns={"density": f"per_{unit}"})
        of_documents = of_documents.merge(beside, on=key, how="left", validate="one_to_one")
    printed = published("densities", planted)
    rows = []
    for _, row in of_documents.iterrows():
        culture, corpus, method = row["culture"], row["corpus"], row["method"]
        # The paper counts judged hits in the monolingual corpus.
        paper = printed.get(culture, {}) if method != EXACT else {}
        rows.append(
            {
                "culture": names[culture],
                "corpus": names[corpus],
                "counted": "every text" if method == EXACT else f"{method}, {row['judge']}",
                "with_pairs": "yes" if row["includes_parallel"] else "no",
                "documents": row["denominator"],
                "questions": row["n_questions"],
                "indeterminate": row["indeterminate"],
                "occurrences": row["occurrences"],
                "of_distractors": row["distractor_occurrences"],
                "n_capped": row["n_capped"],
                "n_absent": row["n_absent"],
                "per_document": row["density"],
                "lo": row["lo"],
                "hi": row["hi"],
                "published": paper.get("base" if corpus == base else "own"),
                "per_chunk": row["per_chunk"],
                "per_token": row["per_token"],
            }
        )
    table, note = _beside(
        pd.DataFrame(rows), ["published"], planted, f" published: {_PAPER}, Table 1, per document, on other corpora."
    )
    write_table(
        table,
        out,
        "How densely a corpus states the facts asked for: documents that state a question's fact (occurrences: their "
        "mean over the questions that could be told) per document of the corpus, the unit of the paper's cultural "
        "density. counted: among the hits of a retriever by a judge, or in every text by the rule of co-occurrence. "
        "with pairs: the parallel text is part of it. of distractors: occurrences of wrong options, what chance gives. "
        "n capped: questions whose full list of hits still states the fact in its last tenth, so that more may follow. "
        "n absent: questions with a subject term that the corpus lacks. Intervals: 95 %, bootstrap over questions, of "
        "the density per document. Beside it chunks that state the fact, per chunk and per token of the corpus."
        f"{note}",
        {
            "occurrences": ".2f",
            "of_distractors": ".2f",
            **dict.fromkeys(("per_document", "lo", "hi", "published", "per_chunk", "per_token"), ".2e"),
        },
    )


def communities(
    *, questions: Mapping[str, Path], languages: Mapping[str, Mapping[str, Any]], subset: str, out: Path
) -> None:
    """Write Table 2 of the paper: the communities asked about, beside what the study says of their languages.

    Region, population, language and writing system are what the paper prints; nothing here measures them. A language
    that the paper does not study has none.

    Args:
        questions: culture -> table "questions".
        languages: language code -> name, script and resource.
        subset: which questions the headline numbers use.
        out: path without suffix; .csv, .md and .tex are written.
    """
    printed = published("communities", planted=False)
    rows = []
    for culture, path in questions.items():
        paper = printed.get(culture, {})
        rows.append(
            {
                "language": languages[culture]["name"],
                "code": culture,
                "script": languages[culture]["script"],
                "resource": languages[culture]["resource"],
                "questions": in_subset(tables.read(path), subset)["question_id"].nunique(),
                **{
                    f"{column}_published": paper.get(column)
                    for column in ("community", "region", "population", "language", "code", "writing")
                },
            }
        )
    write_table(
        pd.DataFrame(rows),
        out,
        f"Communities and their languages: as this study has them (questions: {subset}), and published: {_PAPER}, "
        "Table 2.",
    )


def questions(
    *,
    questions: Mapping[str, Path],
    tokenizer: Path,
    names: Mapping[str, str],
    base: str,
    subset: str,
    planted: bool,
    out: Path,
) -> None:
    """Write Table 3 of the paper: number and length of the questions, the paper's values beside.

    A blank is counted as the text ``<mask>``, which the published scorer puts in its place: so counted, the released
    questions have the published lengths (to 0.1 token) by the tokenizer of Qwen2.5.

    Args:
        questions: culture -> table "questions".
        tokenizer: the study's tokenizer.
        names: language code -> English name.
        base: code of the base language.
        subset: the subset that is counted beside all questions.
        planted: whether the questions are a planted world's, beside which the paper's values would say nothing.
        out: path without suffix; .csv, .md and .tex are written.
    """
    encoder = load_tokenizer(tokenizer)
    printed = published("questions", planted)
    rows = []
    for culture, path in questions.items():
        table = tables.read(path)
        kept = in_subset(table, subset)["question_id"].nunique()
        for label, lang in (("own", culture), ("base", base)):
            asked = table[table["lang"] == lang]
            texts = [re.sub("_+", "<mask>", text) for text in asked.drop_duplicates("question_id")["text"]]
            paper = printed.get(culture, {})
            rows.append(
                {
                    "culture": names[culture],
                    "asked_in": names[lang],
                    "n": len(texts),
                    f"n_{subset}": kept,
                    "question_tokens": _mean_tokens(encoder, texts),
                    "option_tokens": _mean_tokens(encoder, asked["option"].tolist()),
                    "n_published": paper.get("n"),
                    "question_tokens_published": paper.get(f"{label}_question"),
                    "option_tokens_published": paper.get(f"{label}_option"),
                }
            )
    lengths = ["question_tokens", "option_tokens"]
    table, note = _beside(
        pd.DataFrame(rows),
        [f"{column}_published" for column in ("n", *lengths)],
        planted,
        f" published: {_PAPER}, Table 3, by the tokenizer of Qwen2.5.",
    )
    write_table(
        table,
        out,
        "Questions: number of all and of those used, mean tokens of a question (its blank as <mask>) and of an "
        f"option, by this study's tokenizer.{note}",
        {column: ".1f" for column in table.columns if column.startswith(tuple(lengths))},
    )


def _mean_tokens(encoder: Any, texts: list[str]) -> float:
    """Return the mean number of tokens of texts."""
    return sum(len(e.ids) for e in encoder.encode_batch(texts, add_special_tokens=False)) / len(texts)


def occurrences(
    *, transferred: Path, names: Mapping[str, str], base: str, resamples: int, seed: int, planted: bool, out: Path
) -> None:
    """Write the mean occurrences of transferred items and of the groups to compare them with.

    Args:
        transferred: the table "items".
        names: language code -> English name.
        base: code of the base language.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        planted: whether the text is a planted world, beside which the paper's values would say nothing.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = occurrence_means(items=transferred, resamples=resamples, seed=seed)
    printed = published("occurrences", planted)
    table["published"] = [
        printed.get(row["direction"], {}).get(row["group"])
        if row["corpus"] == "source" and row["selection"] == PAPER
        else None
        for _, row in table.iterrows()
    ]
    table, note = _beside(table, ["published"], planted, f" published: {_PAPER}, other corpora.")
    table["direction"] = [direction_label(direction, names[base]) for direction in table["direction"]]
    table[["share", "share_lo", "share_hi"]] *= 100
    write_table(
        table,
        out,
        "Mean occurrences of transferred items (items: questions × seeds, all languages) in the corpora of the "
        "source and of the target language. selection 'paper': appendix C.4 to the letter; 'risk': right at more than "
        "half of the last checkpoints, with the same conditions in both directions. Items are chosen by conditions "
        "that themselves depend on frequency "
        "(known in the source), so the comparison with all items shows a difference even without any effect of "
        "frequency on transfer; the rest of the risk set (known in the source, not answered without the bridge nor, "
        "into the base language, before) is "
        "the fair one. 'by lot': as many items drawn from the risk set at random, what the selection alone gives; arms "
        "swapped: items that cross without the bridge and not with it, what chance gives; a wrong option as gold: "
        "items "
        "whose wrong options meet the same conditions, what preferences that grow alike give. share: of the risk set "
        "(%). "
        "Intervals: 95 %, bootstrap "
        "over clusters of questions, given these seeds; by lot: 95 % of the draws."
        f"{note}",
        dict.fromkeys(("mean", "lo", "hi", "published"), ".2f")
        | dict.fromkeys(("share", "share_lo", "share_hi"), ".1f"),
    )


def data(*, orders: Sequence[Path], names: Mapping[str, str], out: Path) -> None:
    """Write what each run read, and what its arm's filter left out or replaced.

    Args:
        orders: data orders, one a run.
        names: language code -> English name.
        out: path without suffix; .csv, .md and .tex are written.
    """
    # Here, because it loads all that makes orders, which would be a third of the time of every other drawing.
    from lorebridge.tokens.order import order_summary

    table = pd.DataFrame([order_summary(path) for path in orders]).replace({"lang": dict(names)})
    table.insert(list(table.columns).index("pad") + 1, "pad_share", 100 * table["pad"] / table["positions"])
    write_table(
        table,
        out,
        "What each run reads: content, label, end-of-text and padding tokens; pad share: of all positions (%); content "
        "tokens by stream; epochs over the monolingual text and the pairs; the base language's share of the tokens of "
        "the pairs. Arms of a language and a seed read the same content in as many rows: what labels take in one is "
        "padding in another, which costs computing and has no loss."
        + (
            " pairs and tokens filtered: what the run would have read but for its arm's filter."
            if "pairs_filtered" in table
            else ""
        )
        + (" replayed: tokens of monolingual text in the base language." if "replayed" in table else ""),
        {"pad_share": ".0f", "en_share": ".2f", "monolingual_per_parallel": ".2f"},
    )


def filtering(*, audits: Mapping[str, Path], names: Mapping[str, str], base: str, out: Path) -> None:
    """Write what the filters kept, edited and dropped, by reason: one column a text.

    Args:
        audits: name of the text (a language, or ``{base}-{lang}`` for parallel text) -> its audit.json.
        names: language code -> English name.
        base: code of the base language.
        out: path without suffix; .csv, .md and .tex are written.
    """
    columns = {}
    for text, path in audits.items():
        audit = json.loads(Path(path).read_text(encoding="utf-8"))
        parallel = text.removeprefix(f"{base}-")
        heading = names[text] if parallel == text else f"{names[base]}–{names[parallel]} pairs"
        columns[heading] = {
            "rows read": audit["rows"],
            "kept": audit["kept"],
            "of these edited": audit["edited"],
            **{f"dropped: {reason.replace('_', ' ')}": count for reason, count in audit["dropped"].items()},
        }
    table = pd.DataFrame(columns).fillna(0).astype(int).rename_axis("count").reset_index()
    write_table(
        table,
        out,
        "What the script filters did, in documents and pairs. Edited: kept with some letters deleted. A text is "
        "dropped for the first reason that holds.",
    )


def recovery(*, recovery: Path, names: Mapping[str, str], out: Path) -> None:
    """Write how many of the planted statements retrieval and judge found again.

    Args:
        recovery: the table "recovery".
        names: language code -> English name.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = tables.read(recovery).replace({"corpus": dict(names), "culture": dict(names)})
    write_table(
        table[table["dose"].isna()].drop(columns="dose"),
        out,
        "Planted truth against what the tracing recovers, in documents that state the fact of a question: after "
        "retrieval, after the judge, by the rule of co-occurrence in every text (exact), and of these where the answer "
        "stands out from the distractors (told apart). Questions that could not be told are left out.",
        dict.fromkeys(("recall", "precision"), ".3f"),
    )
