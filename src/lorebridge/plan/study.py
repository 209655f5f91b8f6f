"""A study as rows: its texts, its models, its question sets; and the stages and drawings that it has.

What kind of study a configuration describes says its key ``kind``; :mod:`lorebridge.studies` turns the one into the
other. Nothing here knows a kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge import config as configuration
from lorebridge import declared
from lorebridge.plan.stage import Artifact, Drawing, Item, Stage, artifact

GIVEN = "given_model"
"""The stage that puts a given model in place."""


@dataclasses.dataclass(frozen=True)
class Text:
    """A stream of text that models read: one column of some tables, tokenized once.

    Attributes:
        name: its name; its token store is called so.
        lang: the language that it is in.
        column: the column of the tables.
        tables: where its rows stand, in order.
        checked: artifacts that must be there before anything is made of it.
        cultures: the question sets whose facts it is searched for.
        pairs: of a half of parallel text, the language whose pairs these are; else empty.
        cut_by: the given model whose tokenizer it is cut with; empty for the study's own.
        lead: what is put before every document of it (:func:`lorebridge.tokens.store.build_store`).
    """

    name: str
    lang: str
    column: str
    tables: tuple[Item, ...]
    checked: tuple[Item, ...]
    cultures: tuple[str, ...]
    pairs: str = ""
    cut_by: str = ""
    lead: str = ""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that is trained, or given, and asked at its checkpoints.

    Attributes:
        name: its name, which nobody parses.
        phase: ``base``, ``continual``, ...: which stage trains it, and the section of ``training`` with its schedule;
            ``given`` of one that is not trained.
        texts: names of the texts that it is trained on.
        start: the model that it starts from, if any.
        lang: the language that it learns, if it is one.
        arm: the arrangement of its text, if it has one.
        seed: seed of the data order and, where it starts from nothing, of the weights.
        steps: optimizer steps.
        checkpoints: the steps at which a checkpoint is kept, 0 first; one of a given model, which has no step.
        tokens: positions that it trains on, padding included.
        cultures: the question sets that it is asked.
        heldout: the languages of whose held-out text its perplexity is measured.
        mixture: of a model that learns several texts jointly: how much of each (``shares`` or ``temperature``, see
            :func:`lorebridge.tokens.mixture.draw_mixture`), and at which ``level`` of removal, if pages are removed.
        tuning: of a model that is tuned on prompts and answers: their ``texts`` and how they are read (see
            :func:`lorebridge.tokens.tuning.draw_tuning`).
        given: where a given model is from: ``path``, or ``hub`` and ``revision``.
    """

    name: str
    phase: str
    texts: tuple[str, ...]
    start: str | None = None
    lang: str | None = None
    arm: str | None = None
    seed: int | None = None
    steps: int = 0
    checkpoints: tuple[int | None, ...] = (None,)
    tokens: int = 0
    cultures: tuple[str, ...] = ()
    heldout: tuple[str, ...] = ()
    mixture: Mapping[str, Any] | None = None
    tuning: Mapping[str, Any] | None = None
    given: Mapping[str, Any] | None = None

    @property
    def artifact(self) -> Artifact:
        """What makes it."""
        return artifact(GIVEN if self.phase == "given" else f"train_{self.phase}", run=self.name)


@dataclasses.dataclass(frozen=True)
class Reading:
    """What it costs to ask a model.

    Attributes:
        model: its name.
        tokens: that it reads, at most.
        parameters: in matrix products, each read once a token.
        bytes: on disk: its weights, where it is given, and the tables of what it answers.
    """

    model: str
    tokens: float
    parameters: float
    bytes: float


@dataclasses.dataclass
class Study:
    """One study.

    Attributes:
        config: its validated configuration.
        digest: gives the sha256 of a local file.
        stages: name -> stage.
        account: the function that says on the page what the study asks, was, and found, ``module:function``
            (:class:`lorebridge.figures.page.Account`).
        base: the language that the others are compared with; empty where there is none.
        langs: the languages that are learned.
        letters: language -> what the filter does to its letters (:class:`lorebridge.corpora.scripts.LetterFilter`).
        texts: name -> text.
        models: name -> model.
        asked: question set -> the table of the questions that models are asked.
        cells: the (corpus, question set) pairs that are traced.
        figures: name -> figure.
        tables: name -> table.
        settings: what drawings are drawn with.
        targets: what the study is for, beside its drawings.
        declared: what it declares before its runs, which no recipe of these holds; None for nothing.
        named_by: the stage that says what is looked for in texts, a file ``subjects`` a language.
        reading: how texts are read for what they state: ``window`` (sentences) and ``max_chars`` (of a chunk).
        readings: what it costs to ask its models, where the configuration says what that needs; beside their training.
        local: parts of its configuration, beside the sources of text, that name a file or folder to obtain (``path``,
            ``obtain``).
    """

    config: Mapping[str, Any]
    digest: Any
    stages: dict[str, Stage]
    account: str
    base: str = ""
    langs: list[str] = dataclasses.field(default_factory=list)
    letters: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    texts: dict[str, Text] = dataclasses.field(default_factory=dict)
    models: dict[str, Model] = dataclasses.field(default_factory=dict)
    asked: dict[str, Item] = dataclasses.field(default_factory=dict)
    cells: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    figures: dict[str, Drawing] = dataclasses.field(default_factory=dict)
    tables: dict[str, Drawing] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    targets: list[Artifact] = dataclasses.field(default_factory=list)
    declared: Mapping[str, Any] | None = None
    named_by: str = "subjects"
    reading: Mapping[str, int] = dataclasses.field(default_factory=dict)
    readings: Sequence[Reading] = ()
    local: Sequence[Mapping[str, Any]] = ()

    @property
    def root(self) -> str:
        """The folder of its results."""
        return f"{self.config['results']}/{self.config['study']}"

    @property
    def first_declared(self) -> str:
        """The file that says what was declared when its first model was trained or scored."""
        return f"{self.root}/{declared.FILE}"

    @property
    def work(self) -> str:
        """The folder of its resume state."""
        return f"{self.config['work']}/{self.config['study']}"

    @property
    def languages(self) -> Mapping[str, Mapping[str, Any]]:
        """Code -> what the configuration says of a language."""
        return self.config["languages"]

    @property
    def planted(self) -> bool:
        """Whether the study reads a planted world, so that there is a truth to compare with."""
        return self.config["world"] is not None

    def script(self, lang: str) -> str:
        """Return the script that a language is written in."""
        return self.languages[lang]["script"]

    def add(self, models: Iterable[Model]) -> None:
        """Add models, those that are trained before those that are given.

        Raises:
            ConfigError: a given model is called as one that is there, whose place it would take.
        """
        for model in models:
            if model.name in self.models:
                what = f"is the name of a model that the study trains ({self.models[model.name].phase})"
                raise configuration.ConfigError(f"key given.{model.name}", what, "Give it another.")
            self.models[model.name] = model

    def model(self, name: Any) -> Model:
        """Return the model of a name.

        Raises:
            KeyError: there is none.
        """
        return self.models[str(name)]

    def origin(self, model: Model) -> Model:
        """Return what a model goes back to: itself, or the first of those that it was started from."""
        while model.start is not None:
            model = self.model(model.start)
        return model

    def text(self, name: Any) -> Text:
        """Return the text of a name."""
        return self.texts[str(name)]

    def mono(self, lang: str) -> Text:
        """Return the monolingual text of a language."""
        return next(text for text in self.texts.values() if text.lang == lang and not text.pairs)

    def halves(self, culture: str) -> list[Text]:
        """Return the halves of a language's parallel text, that in the base language first."""
        return [text for text in self.texts.values() if text.pairs == culture]

    def half(self, culture: str, lang: str) -> Text:
        """Return the half of a culture's parallel text that is in a language."""
        return next(text for text in self.halves(culture) if text.lang == lang)

    @property
    def phases(self) -> list[str]:
        """The phases in which models are trained, in order."""
        return list(dict.fromkeys(model.phase for model in self.trained))

    @property
    def trained(self) -> list[Model]:
        """The models that are trained, in order."""
        return [model for model in self.models.values() if model.given is None]

    def asked_in(self, culture: str) -> list[str]:
        """Return the languages that the questions of a culture are asked in, the base first."""
        return sorted(self.config["questions"][culture]["files"], key=lambda lang: lang != self.base)

    def of_phase(self, *phases: str) -> list[Model]:
        """Return the models of some phases, in order."""
        return [model for model in self.models.values() if model.phase in phases]

    def known(self, path: str, key: str, obtain: str | None = None) -> str:
        """Return the sha256 of a local source; ``absent`` for one that the user has yet to obtain.

        Raises:
            ConfigError: there is no such file, and nothing says how to obtain it.
        """
        if Path(path).is_file():
            return self.digest(path)
        if obtain is None:
            raise configuration.ConfigError(f"key {key}", f"there is no file {path}", "Mend the path, or `data`.")
        return "absent"

    def known_folder(self, path: str, key: str, obtain: str | None = None) -> dict[str, str] | str:
        """Return the sha256 of each file of a local model; ``absent`` for one that the user has yet to obtain.

        Raises:
            ConfigError: there is no such model, and nothing says how to obtain it.
        """
        files = folder_files(path)
        if files or obtain is not None:
            return {Path(file).relative_to(path).as_posix(): self.digest(file) for file in files} or "absent"
        raise configuration.ConfigError(f"key {key}", f"there is no model in {path}", "Mend the path, or `data`.")

    def absent_sources(self) -> list[tuple[str, str]]:
        """Return (path, how to obtain it) of the sources that the user has yet to put in place."""
        models = [
            (path, said["obtain"])
            for said in self.config.get("tracing", {}).get("translation", {}).values()
            if said["path"]
            and said["obtain"]
            and not folder_files(path := str(configuration.local_path(self.config, said["path"])))
        ]
        local = [
            (path, said["obtain"])
            for said in self.local
            if said["obtain"] and not Path(path := str(configuration.local_path(self.config, said["path"]))).exists()
        ]
        sources = [
            (path, source["obtain"])
            for section in ("corpora", "parallel")
            for entry in self.config.get(section, {}).values()
            for source in entry["sources"]
            if source.get("obtain")
            and not Path(path := str(configuration.local_path(self.config, source["path"]))).is_file()
        ]
        return models + local + sources


def folder_files(folder: str | Path) -> list[str]:
    """Return the paths of all files of a folder, sorted; none where there is no such folder."""
    return [str(path) for path in sorted(Path(folder).rglob("*")) if path.is_file()]


def rows(drawings: Iterable[Drawing]) -> dict[str, Drawing]:
    """Return drawings by their name."""
    return {drawing.name: drawing for drawing in drawings}
