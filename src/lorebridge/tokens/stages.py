"""What the stages of tokens make: the tokenizer, the token stores, the data orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lorebridge.corpora.stages import shard_files, sound
from lorebridge.plan.stage import (
    Argument,
    Arguments,
    File,
    Item,
    Stage,
    Wildcards,
    after,
    by,
    folder,
    groups,
    item,
    many,
    one,
)
from lorebridge.plan.study import GIVEN, Model, Study
from lorebridge.tokens.arms import (
    ARMS,
    ENGLISH_MATCHED,
    FIRST_EITHER,
    HALF,
    LEAK_FREE,
    LEAK_ONLY,
    REPLAY,
    REPLAY_ALL,
    has_labels,
    joins,
    parts_partners,
)
from lorebridge.world.stages import cloned


def tokenizer(given: str = "") -> Item:
    """Return the folder of the study's tokenizer, or of that which comes with a given model."""
    return item(GIVEN, "checkpoints", run=given) if given else folder("tokenizer", "tokenizer")


def cut_by(study: Study, model: Model) -> str:
    """Return the given model whose tokenizer cuts what a model reads; empty for the study's own."""
    origin = study.origin(model)
    return "" if origin.given is None else origin.name


def stores(names: Iterable[str]) -> list[Item]:
    """Return the folders of the token stores of some texts."""
    return [folder("token_store", "tokens", stream=name) for name in names]


def leak_texts(study: Study, model: Model) -> list[str]:
    """Return the texts whose mentions say which pairs a model's order leaves out; none where it does not ask."""
    if model.arm not in ARMS or ARMS[model.arm].variant not in (LEAK_FREE, LEAK_ONLY):
        return []
    return [name for name in model.texts if study.text(name).pairs]


def told(model: Model) -> dict[str, Any]:
    """Return what the rows of tables about a model say of it, so that nobody reads its name."""
    return {"learned": model.lang, "arm": model.arm, "seed": model.seed}


def replays(config: Mapping[str, Any], arm: str) -> bool:
    """Say whether an arm of a study reads text of the base language again."""
    return ARMS[arm].variant == REPLAY or config["training"]["replay_in"] == REPLAY_ALL


def template(study: Study, lang: str) -> str:
    """Return how the bridge of a language joins the halves of a pair, ``{en}`` and ``{xx}`` still open."""
    language, base = study.languages[lang], study.languages[study.base]
    said = language.get("template") or study.config["template"]
    return said.format(en="{en}", xx="{xx}", base=base["name"], name=language["name"])


def _trained(study: Study) -> bool:
    return study.config["tokenizer"]["kind"] != "pretrained"


def _tokenizer_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    said = study.config["tokenizer"]
    local = Path(said.get("source", "")) / "tokenizer.json"
    # A local folder is known by what it holds, as other local sources are.
    return {"kind": said["kind"]} | ({"sha256": study.digest(str(local))} if local.is_file() else {})


def _tokenizer_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    clones = cloned(study.config["world"])
    return {k: v for k, v in study.config["tokenizer"].items() if k != "kind"} | ({"clones": clones} if clones else {})


def _tokenizer_inputs(study: Study, w: Wildcards) -> Arguments:
    if not _trained(study):
        return {}
    return {
        "documents": groups("lang", [i for lang in study.languages for i in shard_files(study, lang, "documents")]),
        "audits": after(sound(lang) for lang in study.languages),
    }


def _store_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    text = study.text(w["stream"])
    # Only the halves of pairs can stand behind a label.
    has_space = text.pairs and study.config["training"].get("label_space") == HALF
    lead = text.lead or (" " if has_space else "")
    return {"column": text.column, **({"lead": lead} if lead else {})}


def _order_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    model, training = study.model(w["run"]), study.config["training"]
    if model.tuning is not None:
        return {
            "run": model.name,
            "seed": model.seed,
            **model.tuning,
            "sequence_length": training["sequence_length"],
            "batch_tokens": training[model.phase]["batch_tokens"],
        }
    if model.mixture is not None:
        level = model.mixture.get("level")
        return {
            "run": model.name,
            "seed": model.seed,
            "steps": model.steps,
            "sequence_length": training["sequence_length"],
            "batch_tokens": training[model.phase]["batch_tokens"],
            "packing": training["packing"],
            "shares": model.mixture.get("shares"),
            "temperature": model.mixture.get("temperature"),
            **({} if level is None else {"level": level, "langs": {n: study.text(n).lang for n in model.texts}}),
        }
    literals = {
        "run": model.name,
        "lang": model.lang,
        "arm": model.arm,
        "seed": model.seed,
        "steps": model.steps,
        "sequence_length": training["sequence_length"],
        "batch_tokens": training[model.phase]["batch_tokens"],
        "packing": training["packing"],
    }
    if model.arm not in ARMS or model.lang is None:
        return literals
    # A setting is a literal of the arms that it makes and of no other, so that a change redraws those alone.
    own: dict[str, Any] = {"template": template(study, model.lang)} if has_labels(model.arm) else {}
    if has_labels(model.arm) and training["label_space"] == HALF:
        own["label_space"] = HALF
    if ARMS[model.arm].variant == ENGLISH_MATCHED:
        own["english_share"] = training["english_share"]
    if replays(study.config, model.arm):
        own["replay"] = {"base": study.base, "share": training["replay_share"]}
    if joins(model.arm) and training["first_half"] == FIRST_EITHER:
        own["first_half"] = FIRST_EITHER
    if parts_partners(model.arm):
        own["distance"] = study.config["no_bridge"]["distance"]
    return literals | {"label_tokens": training["label_tokens"], "pair_supply": training["pair_supply"], **own}


def _order_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    # What was once otherwise in one arm: the others are not drawn, nor trained, anew.
    arm = study.model(w["run"]).arm
    return {"partners": "drawn each epoch"} if arm in ARMS and ARMS[arm].arrangement == "placebo" else {}


def _order_inputs(study: Study, w: Wildcards) -> Arguments:
    model = study.model(w["run"])
    # The halves of a parallel text are columns of one table.
    pairs = [study.text(name).tables[0] for name in model.texts if study.text(name).pairs]
    leaks = leak_texts(study, model)
    removes = model.mixture is not None and model.mixture.get("level") is not None
    return {
        "stores": by("stream", stores(model.texts)),
        **({"pairs": one(pairs[0])} if pairs else {}),
        **({"mentions": many(item("mentions", "mentions", stream=name) for name in leaks)} if leaks else {}),
        **({name: one(item(name, name)) for name in ("pages", "exclusions")} if removes else {}),
        "tokenizer": one(tokenizer(cut_by(study, model))),
    }


def _layout(model: Model) -> str:
    """Return the function that lays out a model's order."""
    if model.tuning is not None:
        return "tuning:draw_tuning"
    return "order:draw_order" if model.mixture is None else "mixture:draw_mixture"


STAGES = (
    Stage(
        "tokenizer",
        "Train the study's tokenizer on equal bytes of every language, or fetch a released one.",
        lambda study, w: f"lorebridge.tokens.tokenizer:{'train_on_corpora' if _trained(study) else 'fetch_tokenizer'}",
        files={
            "tokenizer": File("tokenizer/tokenizer.json", "Hugging Face tokenizer", argument="out", given="folder"),
            "settings": File("tokenizer/tokenizer_config.json", "its settings", argument=""),
        },
        record="tokenizer/record.json",
        literals=_tokenizer_literals,
        identity=_tokenizer_identity,
        inputs=_tokenizer_inputs,
    ),
    Stage(
        "token_store",
        "Tokenize one text once, into a memory-mapped store.",
        "lorebridge.tokens.store:build_store",
        version=2,
        files={
            "tokens": File(
                "tokens/{stream}/tokens.bin",
                "uint32, little endian: all documents end to end",
                argument="out",
                given="folder",
            ),
            "offsets": File("tokens/{stream}/offsets.npy", "int64, one more than documents", argument=""),
            "store": File("tokens/{stream}/store.json", "totals and digests", argument=""),
        },
        record="tokens/{stream}/record.json",
        literals=_store_literals,
        inputs=lambda study, w: {
            "tables": many(study.text(w["stream"]).tables),
            "audits": after(study.text(w["stream"]).checked),
            "tokenizer": one(tokenizer(study.text(w["stream"]).cut_by)),
        },
    ),
    Stage(
        "order",
        "Draw the data order of a model: which piece of text stands where in the rows that it reads.",
        lambda study, w: "lorebridge.tokens." + _layout(study.model(w["run"])),
        version=2,
        files={
            "order": File(
                "order/{run}.parquet",
                "its Parquet metadata (key `order`) holds totals, epochs, label tokens, the fingerprints of its "
                "stores, and under `derived` what a derived arm left out, replayed or could not turn, "
                "under `partners` how many documents of a placebo have other partners than in the first epoch "
                "(`docs/arms.md`)",
                table="order",
                argument="out",
            )
        },
        record="order/{run}.parquet.record.json",
        literals=_order_literals,
        identity=_order_identity,
        inputs=_order_inputs,
    ),
)


def _stating(study: Study) -> dict[str, Argument]:
    """Return what says which document states what: the truth of a planted world, or what each text mentions."""
    if study.config["removal"]["stated_by"] == "truth":
        return {"truth": one(item("world", "truth"))}
    texts = [study.mono(lang) for lang in study.languages]
    return {"mentions": by("lang", [item("mentions", "mentions", stream=t.name).known_by(lang=t.lang) for t in texts])}


def _pages_inputs(study: Study, w: Wildcards) -> Arguments:
    langs = list(study.languages)
    texts = [study.mono(lang) for lang in langs]
    return {
        "documents": groups("lang", [i for lang in langs for i in shard_files(study, lang, "documents")]),
        "stores": by(
            "lang",
            [store.known_by(lang=t.lang) for t, store in zip(texts, stores([t.name for t in texts]), strict=True)],
        ),
    }


def neighbours_literals(study: Study) -> dict[str, Any]:
    """Return what neighbours are found by."""
    said = study.config["neighbours"]
    return {"lang": said["index_lang"] or study.base, **{key: said[key] for key in ("method", "query_terms", "top")}}


REMOVAL_STAGES = (
    Stage(
        "pages",
        "Join the documents of all languages to pages.",
        "lorebridge.tokens.pages:build_pages",
        files={"pages": File("pages/pages.parquet", table="pages", argument="out")},
        record="pages/pages.parquet.record.json",
        literals=lambda study, w: {"by": study.config["removal"]["pages_by"]},
        inputs=_pages_inputs,
    ),
    Stage(
        "neighbours",
        "Find the pages nearest to each page that has a question.",
        "lorebridge.corpora.neighbours:neighbours",
        files={"neighbours": File("pages/neighbours.parquet", table="neighbours", argument="out")},
        record="pages/neighbours.parquet.record.json",
        literals=lambda study, w: neighbours_literals(study),
        inputs=lambda study, w: {
            "documents": many(shard_files(study, neighbours_literals(study)["lang"], "documents")),
            "pages": one(item("pages", "pages")),
            "qa": one(item("qa", "qa")),
        },
    ),
    Stage(
        "exclusions",
        "Say which pages go at which level, and draw what is read in their place.",
        "lorebridge.tokens.removal:exclusions",
        files={"exclusions": File("pages/exclusions.parquet", table="exclusions", argument="out")},
        record="pages/exclusions.parquet.record.json",
        literals=lambda study, w: {
            "target": study.config["removal"]["target"],
            "seed": study.config["removal"]["seed"],
            "top": study.config["neighbours"]["top"],
        },
        inputs=lambda study, w: {
            "pages": one(item("pages", "pages")),
            "neighbours": one(item("neighbours", "neighbours")),
            "qa": one(item("qa", "qa")),
            **_stating(study),
        },
    ),
    Stage(
        "filter_sizes",
        "Tell what each level has to read, and what it still states.",
        "lorebridge.tokens.removal:filter_sizes",
        files={"filter_sizes": File("pages/filter_sizes.parquet", table="filter_sizes", argument="out")},
        record="pages/filter_sizes.parquet.record.json",
        inputs=lambda study, w: {
            "pages": one(item("pages", "pages")),
            "exclusions": one(item("exclusions", "exclusions")),
            "qa": one(item("qa", "qa")),
            **_stating(study),
        },
    ),
)
"""Of a kind of study that removes pages. Section ``removal``: ``target, pages_by, seed, stated_by`` (``truth`` or
``mentions``); section ``neighbours``: ``method, query_terms, top, index_lang`` (null: the base language)."""
