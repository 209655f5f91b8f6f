"""What must hold of a study of bridges beyond its schema: rules of the paper's design."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorebridge import config as configuration
from lorebridge.studies.checks import not_a_language
from lorebridge.tokens.arms import ARMS, ENGLISH_MATCHED, HALF, NEAR, REPLAY, REPLAY_ALL, shortest_row, trained_arms
from lorebridge.trace.stages import LOCAL
from lorebridge.world.stages import knobs as planted_knobs

# ISO 15924, as the codes of NLLB end, for the scripts of the schema.
SCRIPT_CODES = {
    "Latn": "Latin",
    "Hang": "Hangul",
    "Hans": "Han",
    "Hant": "Han",
    "Tibt": "Tibetan",
    "Mong": "Mongolian",
    "Cyrl": "Cyrillic",
    "Arab": "Arabic",
    "Deva": "Devanagari",
}


def problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with a configuration."""
    if config["model"].get("kind") == "bert":
        yield "model.kind", "is a masked model, and this kind of study asks causal ones", "Leave it out."
    yield from _language_problems(config)
    yield from _training_problems(config)
    yield from _probing_problems(config)
    yield from _transfer_problems(config)
    yield from _prereg_problems(config)
    yield from _tracing_problems(config)
    yield from _people_problems(config)


def _language_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """A base and others apart from it by script, each with its text and two files of questions."""
    languages, base = config["languages"], config["base_language"]
    others = [lang for lang in languages if lang != base]
    if base not in languages:
        yield "base_language", f"{base!r} is not among the languages", f"Choose one of {sorted(languages)}."
    for lang in others:
        if config["corpora"].get(lang, {}).get("filter") != "none" and languages[lang]["script"] == languages.get(
            base, {}
        ).get("script"):
            yield (
                f"languages.{lang}.script",
                f"is the base language's script ({languages[lang]['script']})",
                "The design keeps the languages apart by script; choose a language with another script, or set "
                f"corpora.{lang}.filter to none.",
            )
    for section in ("parallel", "questions"):
        for lang in config[section]:
            if lang not in others:
                yield not_a_language(section, lang, others)
        for lang in others:
            if lang not in config[section]:
                yield section, f"has nothing for the language {lang!r}", f"Add {section}.{lang}."
    for culture, entry in config["questions"].items():
        if set(entry["files"]) != {base, culture}:
            yield (
                f"questions.{culture}.files",
                f"has files for {sorted(entry['files'])}",
                f"Give exactly two index-parallel files: {base} and {culture}.",
            )
        yield from _making_problems(config, culture)
        yield from _sample_problems(config, culture)
    for lang in (config["world"] or {}).get("languages", {}):
        if lang not in others and config["world"]["kind"] == "articles":
            yield not_a_language("world.languages", lang, others)
    for key in ("template", "resource"):
        if languages.get(base, {}).get(key, "high" if key == "resource" else None) not in (None, "high"):
            yield f"languages.{base}.{key}", "is of the languages that are learned after the base", "Leave it out."
    for lang, language in languages.items():
        template = language.get("template") or config["template"]
        fields = re.findall(r"{(.*?)}", template)
        once = fields.count("en") == 1 and fields.count("xx") == 1
        in_order = once and fields.index("en") < fields.index("xx") and template.rstrip().endswith("{xx}")
        if not in_order or not set(fields) <= {"en", "xx", "base", "name"}:
            key = f"languages.{lang}.template" if language.get("template") else "template"
            yield (
                key,
                f"{template!r} is not a bridge",
                "It needs {en} once, then {xx} once at its end; {base} and {name} may occur.",
            )
        elif config["training"]["label_space"] == HALF and (" {en}" not in template or " {xx}" not in template):
            yield (
                "training.label_space",
                f"gives each half the space before it, but {template!r} has none before {{en}} or {{xx}}",
                "Give the template a space there, or set training.label_space to label.",
            )


def _making_problems(config: Mapping[str, Any], culture: str) -> Iterator[tuple[str, str, str]]:
    """Files that are to be made, and how."""
    entry, key = config["questions"][culture], f"questions.{culture}"
    made = entry["made"]
    wanted = [lang for lang, file in entry["files"].items() if file["kind"] == "made"]
    if made is None:
        if wanted:
            yield f"{key}.files.{wanted[0]}", "is to be made, but nothing says how", f"Add {key}.made."
        return
    given = [made["lang"], *made["translate"], *made["by_hand"]]
    for lang in wanted:
        if lang not in given:
            yield f"{key}.made", f"makes no questions in {lang}", f"Add {lang} to translate, or to by_hand."
    for lang in given:
        if lang not in config["languages"]:
            yield not_a_language(f"{key}.made", lang, list(config["languages"]))
    if made["sheet"] and str(made["sheet"]).endswith(f"probes/made/{culture}/sheet.csv"):
        yield f"{key}.made.sheet", "is the stage's own, which is written anew", "Name a copy of it."


def _sample_problems(config: Mapping[str, Any], culture: str) -> Iterator[tuple[str, str, str]]:
    """A sample of questions that is not more than the world plants; files are counted when they are read."""
    entry, world = config["questions"][culture], config["world"]
    planted = all(file["kind"] == "planted" for file in entry["files"].values())
    if entry["sample"] is None or world is None or not planted:
        return
    questions = planted_knobs(world, culture)["questions"]
    there = sum(questions.values()) if isinstance(questions, Mapping) else questions
    if entry["sample"]["questions"] > there:
        yield (
            f"questions.{culture}.sample.questions",
            f"{entry['sample']['questions']} are more than the {there} that there are",
            "Give fewer.",
        )


def _training_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Monolingual and parallel text side by side, in arms that can be compared."""
    training = config["training"]
    if training["continual"]["batch_tokens"] < 2 * training["sequence_length"]:
        yield (
            "training.continual.batch_tokens",
            "makes batches of one row",
            "Monolingual and parallel text need a row each at least.",
        )
    shortest = shortest_row(training["label_tokens"])
    if training["sequence_length"] < shortest:
        yield (
            "training.label_tokens",
            f"leaves no room in a row of {training['sequence_length']} positions",
            f"Lower it, or raise training.sequence_length to {shortest} or more.",
        )
    checkpoints = training["continual"]["checkpoints"]
    for key, steps in (("every", [checkpoints["every"]]), ("early", checkpoints["early"])):
        if config["no_bridge"]["distance"] == NEAR and any(step % 2 for step in steps):
            yield (
                f"training.continual.checkpoints.{key}",
                "has an odd step",
                "The no_bridge arm shares the halves of its pairs between two consecutive batches, so only at even "
                "steps have the arms read the same text.",
            )
    for arm in ("bridge", "no_bridge"):
        if arm not in config["arms"]:
            yield "arms", f"lacks {arm!r}", "Add it: transferred items are selected by bridge and no_bridge."
    for lang, language in config["languages"].items():
        own, key = language.get("arms"), f"languages.{lang}.arms"
        if own is None:
            continue
        if lang == config["base_language"]:
            yield key, "is of the base language, which no arm is trained in", "Leave it out."
        for arm in own:
            if arm not in config["arms"]:
                yield key, f"names the arm {arm!r}, which the study does not train", "Add it to arms, or leave it out."
        for arm in ("bridge", "no_bridge"):
            if arm in config["arms"] and arm not in own:
                yield key, f"lacks {arm!r}", "Add it: transferred items are selected by bridge and no_bridge."
    for variant, key in ((ENGLISH_MATCHED, "english_share"), (REPLAY, "replay_share")):
        arms = [arm for arm in config["arms"] if ARMS[arm].variant == variant]
        if arms and training[key] is None:
            yield f"training.{key}", f"is not set, and the arm {arms[0]} needs it", "Give a share between 0 and 1."
        elif (
            training[key] is not None
            and not arms
            and not (key == "replay_share" and training["replay_in"] == REPLAY_ALL)
        ):
            yield (
                f"training.{key}",
                f"does nothing, as no arm is one of {variant}",
                "Leave it out, or add such an arm to arms.",
            )
    if training["replay_in"] == REPLAY_ALL:
        if training["replay_share"] is None:
            yield "training.replay_share", "is not set, and replay_in: all needs it", "Give a share between 0 and 1."
        for arm in config["arms"]:
            if ARMS[arm].variant == REPLAY:
                plain = arm.removesuffix(f"_{REPLAY}")
                yield "arms", f"names {arm!r}, and with replay_in: all {plain!r} replays too", f"Name {plain!r}."


def _probing_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """A headline of questions that are asked."""
    probing = config["probing"]
    if probing["prefix"] not in probing["prefixes"]:
        yield (
            "probing.prefix",
            f"is {probing['prefix']!r}, behind which no question is asked",
            f"Give one of probing.prefixes ({', '.join(probing['prefixes'])}), or add it there.",
        )


def _transfer_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Contrasts of arms that are trained, over checkpoints that there are."""
    for contrast in config["transfer"]["contrasts"]:
        if contrast[0] == contrast[1]:
            yield "transfer.contrasts", f"compares {contrast[0]!r} with itself", "Name two arms."
    for contrast in config["transfer"]["contrasts"]:
        for arm in contrast:
            if arm not in config["arms"]:
                yield (
                    "transfer.contrasts",
                    f"names the arm {arm!r}, which the study does not train",
                    f"Arms of this study: {', '.join(config['arms'])}.",
                )
    if config["transfer"]["last"] > len(configuration.checkpoint_steps(config["training"]["continual"])):
        yield "transfer.last", "exceeds the number of checkpoints", "Give fewer."


def _prereg_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Declared tests of what there will be."""
    prereg = config["prereg"] or {"tests": []}
    learned = [lang for lang in config["languages"] if lang != config["base_language"]]
    names: set[str] = set()
    for number, test in enumerate(prereg["tests"]):
        key = f"prereg.tests[{number}]"
        if test["name"] in names:
            yield f"{key}.name", f"{test['name']!r} is the name of two tests", "Give each its own."
        names.add(test["name"])
        if test["contrast"][0] == test["contrast"][1]:
            yield f"{key}.contrast", f"compares {test['contrast'][0]!r} with itself", "Name two arms."
        for arm in test["contrast"]:
            if arm not in config["arms"]:
                yield (
                    f"{key}.contrast",
                    f"names the arm {arm!r}, which the study does not train",
                    f"Arms of this study: {', '.join(config['arms'])}.",
                )
        for part in ("languages", "minus"):
            for lang in test[part]:
                if lang not in learned:
                    yield (
                        f"{key}.{part}",
                        f"names {lang!r}, which is no language that is learned",
                        f"They are {', '.join(learned)}.",
                    )
                    continue
                for arm in test["contrast"]:
                    if arm in config["arms"] and arm not in trained_arms(config, lang):
                        yield (
                            f"{key}.{part}",
                            f"names {lang!r}, which is not trained in the arm {arm!r}",
                            f"Add it to languages.{lang}.arms, or leave the language out.",
                        )
        if twice := sorted({*test["languages"]} & {*test["minus"]}):
            yield f"{key}.minus", f"takes {twice[0]!r} from itself", "Name it in one of the two lists."
        if test["prefix"] not in config["probing"]["prefixes"]:
            yield (
                f"{key}.prefix",
                f"is {test['prefix']!r}, behind which no question is asked",
                f"Give one of probing.prefixes ({', '.join(config['probing']['prefixes'])}), or add it there.",
            )
        if test["among"] not in ("all", "unleaked") and config["world"] is None:
            yield (
                f"{key}.among",
                f"is {test['among']!r}, and only of a planted world is it known where a fact stands",
                "Say all or unleaked.",
            )
        if test["over_seeds"] and len(config["seeds"]) < 2:
            yield (
                f"{key}.over_seeds",
                "asks for other seeds, and the study has one",
                "Add a seed to seeds, or set it to false: then the verdict is on these very models.",
            )


def _tracing_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Translation for a judge that reads, of languages that are learned."""
    languages = config["languages"]
    others = [lang for lang in languages if lang != config["base_language"]]
    for lang, settings in config["tracing"]["translation"].items():
        code, key = settings["source_code"], f"tracing.translation.{lang}"
        yield from _model_problems(settings, key)
        script = languages.get(lang, {}).get("script")
        if lang not in others:
            yield key, "is not a language of the study that is learned", f"They are {others}."
        # A model of one's own may have learned the script behind any code.
        elif settings["model"] != LOCAL and "_" in code and SCRIPT_CODES.get(code.split("_")[1], script) != script:
            yield (
                f"{key}.source_code",
                f"{code} is not the {script} script that {lang} is written in",
                "Name a model that has a code for it, or one of your own: model: local (NLLB as released has none for "
                "the traditional Mongolian script), or leave it out: the judge then reads the original.",
            )
    if config["tracing"]["translation"] and config["tracing"]["judge"]["kind"] == "cooccurrence":
        yield (
            "tracing.translation",
            "is for a language model; the judge of co-occurrence reads originals",
            "Leave it out.",
        )


def _model_problems(settings: Mapping[str, Any], key: str) -> Iterator[tuple[str, str, str]]:
    """A translation model of the hub, or a folder that is known by what it holds."""
    if settings["model"] == LOCAL:
        if settings["path"] is None:
            yield f"{key}.path", "is not set, and the model is local", "Name the model's folder."
        if settings["revision"] is not None:
            yield f"{key}.revision", "is of a model of the hub, and the model is local", "Leave it out."
        return
    for name in ("path", "obtain"):
        if settings[name] is not None:
            yield f"{key}.{name}", f"is of a local model, and the model is {settings['model']}", "Write model: local."
    if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", settings["model"]) or Path(settings["model"]).is_dir():
        yield (
            f"{key}.model",
            f"{settings['model']!r} is no id of the hub, such as facebook/nllb-200-3.3B",
            "A folder is given as model: local and path: FOLDER, so that it is known by what it holds.",
        )


def _people_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with the questions on people."""
    people = config["people"]
    if people is None:
        return
    for lang, wordings in people["templates"].items():
        if lang not in config["languages"]:
            yield f"people.templates.{lang}", "is not a language of the study", f"They are {list(config['languages'])}."
        born = f"birth_{people['birth']}"
        if born not in wordings:
            yield (
                f"people.templates.{lang}",
                f"has no {born}, and people.birth is {people['birth']}",
                f"Add people.templates.{lang}.{born}, or set people.birth to the other.",
            )
        for attribute, wording in wordings.items():
            if sorted(re.findall(r"{name}|[{}]|_+", wording)) != ["____", "{name}"]:
                yield (
                    f"people.templates.{lang}.{attribute}",
                    f"{wording!r} is no question on a person",
                    "It needs {name} once and one blank, ____.",
                )
    for lang in config["languages"]:
        if lang not in people["templates"] and lang not in configuration.shipped_templates():
            yield (
                "people.templates",
                f"has no wordings in {config['languages'][lang]['name']}",
                f"Add people.templates.{lang}; config/people.yaml has examples.",
            )
    if people["questions"] > people["number"] * len(configuration.people_properties(people["birth"])):
        yield (
            "people.questions",
            f"{people['questions']} are more than {len(configuration.people_properties(people['birth']))} for each of "
            f"{people['number']} people",
            "Give fewer questions or more people.",
        )
    if people["source"]["kind"] == "planted" and not config["world"]:
        yield "people.source", "asks for the planted world", "Give the section `world`."
