"""Write a planted world: sources in the formats of real data, and the truth about them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge.errors import InputError
from lorebridge.world.facts import Knobs, draw_facts, shares
from lorebridge.world.lexicon import Lexicon, generator
from lorebridge.world.people import draw_people, people_articles, write_people_response
from lorebridge.world.scripts import SCRIPTS, Script
from lorebridge.world.texts import SOURCE, Culture
from lorebridge.world.write import write_json, write_jsonl

log = logging.getLogger("lorebridge.world")

# Knobs that a language may set for its own culture.
PER_LANGUAGE = ("questions", "doses", "articles", "pairs", "pairs_per_entity")


def generate(
    *,
    out: Path,
    base: str,
    languages: Mapping[str, Mapping[str, Any]],
    seed: int = 0,
    questions: int = 180,
    doses: Sequence[int] = (1, 4, 16, 48),
    subjects_per_article: int = 6,
    articles: int = 300,
    pairs: int = 3000,
    pairs_per_entity: int = 8,
    relations: int = 6,
    objects: int = 6,
    entity_coverage: float = 0.5,
    relation_coverage: float = 1.0,
    paraphrases: int = 1,
    co_mentions: float = 0.0,
    numeric_share: float = 0.05,
    anchor_share: float = 0.0,
    leak_rate: float = 0.0,
    min_chars: int = 200,
    people: Mapping[str, Any] | None = None,
) -> None:
    """Write the planted world below `out`.

    Every language but the base has a culture: entities of which each has one fact, asked in one question. Facts are
    crossed: {base only, own language only, both, neither} x covered by parallel text or not x dose.

    Files: ``corpora/{lang}.jsonl.gz`` (``id, title, text, source``), ``parallel/{base}-{lang}.jsonl.gz`` (both
    language codes and ``source``), ``questions/{culture}-culture-cloze_{lang}.json`` (a list of ``question, options,
    answer``; the two languages of a culture are parallel by index), and ``truth.parquet`` (table "truth": one row for
    each question and corpus in which the culture may be stated; names are spelled in the corpus's language). The same
    arguments give the same bytes. What belongs to a culture depends on the seed, the base language and that culture
    alone; the base corpus is the union of what each culture puts there. The base language's names are drawn for each
    culture apart, so two cultures may (rarely) share one, as languages do; no count in the truth depends on it.

    Args:
        out: folder to write to.
        base: code of the base language, a key of `languages`.
        languages: code -> {"script": Latin, Hangul, Han, Tibetan or Mongolian}; a language that is not the base may
            set `questions`, `doses`, `articles`, `pairs` and `pairs_per_entity` for its own culture.
        seed: of the world.
        questions: facts (and questions) of a culture.
        doses: how many articles tell of an entity, in each language; facts are spread evenly over these levels
            (levels that grow by a factor, used equally often, make a Zipf-like distribution). Where the fact is
            placed each of the articles states it once; where it is not they mention the entity alone.
        subjects_per_article: entities that an article tells of.
        articles: background articles of a culture in each language; they even out how often answers are stated.
        pairs: parallel sentences of a culture.
        pairs_per_entity: parallel sentences that mention a covered entity, and that state an answer of a covered
            relation for a background name.
        relations: relations whose answers are names.
        objects: answers that a relation has; a question offers four of them.
        entity_coverage: share of the entities that parallel sentences mention.
        relation_coverage: share of the relations whose words and answers parallel sentences show.
        paraphrases: wordings of a statement in articles; questions use the first.
        co_mentions: share of an entity's articles with one more remark on it, which mentions one of the question's
            options, the gold as often as the others: noise for retrieval and judges.
        numeric_share: share of the facts whose answer is a year, in the same digits in both languages.
        anchor_share: share of the entities whose name ends in a number, the same in both languages.
        leak_rate: share of the pairs on a covered entity that state its fact outright (positive control).
        min_chars: shortest article, in characters.
        people: {"number", "properties", "templates"}: so many invented people (:mod:`lorebridge.world.people`), of whom
            only articles of the base language tell, in the words of `templates`, and ``people.json``, a response that
            lists them. None adds nothing.

    Raises:
        InputError: a knob, language or script that cannot be; names the key.
    """
    knobs = Knobs(
        seed=seed,
        questions=questions,
        doses=doses,
        subjects_per_article=subjects_per_article,
        articles=articles,
        pairs=pairs,
        pairs_per_entity=pairs_per_entity,
        relations=relations,
        objects=objects,
        entity_coverage=entity_coverage,
        relation_coverage=relation_coverage,
        paraphrases=paraphrases,
        co_mentions=co_mentions,
        numeric_share=numeric_share,
        anchor_share=anchor_share,
        leak_rate=leak_rate,
        min_chars=min_chars,
    )
    out = Path(out)
    truth: list[dict[str, Any]] = []
    base_articles: list[dict[str, str]] = []
    cultures = _cultures(base, languages, knobs)
    for culture in cultures:
        pair_rows, covering, leaking = culture.pairs()
        write_jsonl(out / "parallel" / f"{base}-{culture.code}.jsonl.gz", pair_rows)
        for lang in (base, culture.code):
            write_json(out / "questions" / f"{culture.code}-culture-cloze_{lang}.json", culture.questions(lang))
            rows, stating = culture.articles(lang)
            if lang == base:
                base_articles += rows
            else:
                write_jsonl(out / "corpora" / f"{lang}.jsonl.gz", rows)
            for i, fact in enumerate(culture.facts):
                truth.append(
                    {
                        "question_id": f"{culture.code}-{i:04d}",
                        "culture": culture.code,
                        "subject": fact.subject[lang],
                        "relation": f"r{fact.relation}",
                        "gold": fact.gold[lang],
                        "placed": fact.placed,
                        "covered": fact.covered,
                        "dose": fact.dose,
                        "n_pairs_covering": covering[i],
                        "n_leak_pairs": leaking[i],
                        "corpus": lang,
                        "n_statements": len(stating[i]),
                        "doc_ids": [f"{SOURCE}/{identity}" for identity in stating[i]],
                    }
                )
            log.info("%s culture in %s: %d articles", culture.code, lang, len(rows))
    if people:
        base_articles += _plant_people(people, knobs, base, SCRIPTS[languages[base]["script"]], cultures, out)
    order = generator(seed, base, "order").permutation(len(base_articles))
    write_jsonl(out / "corpora" / f"{base}.jsonl.gz", (base_articles[i] for i in order))
    from lorebridge import tables  # here, since plans read the knobs of this module and load no pandas

    tables.write("truth", truth, out / "truth.parquet")


def _plant_people(
    people: Mapping[str, Any], knobs: Knobs, base: str, script: Script, cultures: Sequence[Culture], out: Path
) -> list[dict[str, str]]:
    """Write the response that lists the people, and return the articles that tell of them."""
    taken = [concept[base] for culture in cultures for concept in culture.lexicon.concepts()]
    drawn = draw_people(people["number"], seed=knobs.seed, base=base, script=script, taken=taken)
    write_people_response(drawn, people["properties"], out / "people.json")
    articles = people_articles(
        drawn, people["templates"], seed=knobs.seed, base=base, between=script.between, min_chars=knobs.min_chars
    )
    return [
        {"id": f"people-{number:06d}", "title": title, "text": text, "source": SOURCE}
        for number, (title, text) in enumerate(articles)
    ]


def _cultures(base: str, languages: Mapping[str, Mapping[str, Any]], knobs: Knobs) -> list[Culture]:
    """Check the languages and knobs and draw every culture, in the order of their codes."""
    if base not in languages:
        raise InputError("world.base", f"{base!r} is not among the languages {list(languages)}", "Name one of them.")
    if len(languages) < 2:
        raise InputError("world.languages", "no language beside the base", "Give at least one more.")
    for lang, given in languages.items():
        where = f"world.languages.{lang}"
        if given.get("script") not in SCRIPTS:
            raise InputError(f"{where}.script", f"{given.get('script')!r} is no script", f"Use one of {list(SCRIPTS)}.")
        allowed = ("script",) if lang == base else ("script", *PER_LANGUAGE)
        if unknown := set(given) - set(allowed):
            raise InputError(where, f"unknown key {sorted(unknown)[0]!r}", f"Use only {', '.join(allowed)}.")
    scripts = {lang: SCRIPTS[given["script"]] for lang, given in languages.items()}
    knobs.check("world")
    cultures = []
    for code in sorted(set(languages) - {base}):
        own = dataclasses.replace(knobs, **{k: v for k, v in languages[code].items() if k != "script"})
        own.check(f"world.languages.{code}")
        both = {lang: scripts[lang] for lang in (base, code)}
        lexicon = Lexicon.draw(
            seed=own.seed,
            base=base,
            culture=code,
            scripts=both,
            subjects=own.questions,
            relations=own.relations,
            numeric=own.numeric_share > 0,
            objects=own.objects,
            wordings=own.paraphrases,
            anchored=shares(generator(own.seed, code, "anchored"), own.anchor_share, own.questions).tolist(),
        )
        cultures.append(Culture(base, code, both, own, lexicon, draw_facts(own, base, code, lexicon)))
    return cultures
