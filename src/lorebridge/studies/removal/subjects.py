"""What is looked for in texts on behalf of questions on pages: the page's title and the answer."""

from __future__ import annotations

from pathlib import Path

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.levels import TEST
from lorebridge.trace.analysis import script_of
from lorebridge.trace.asked import speaks

PAGES = "pages"
"""What tables call the set of these questions."""
TITLE = "title"
"""The rule by which a question's subject is found: its page's title as it stands."""


def page_subjects(*, qa: Path, pages: Path, lang: str, script: str, out: Path) -> dict[str, int]:
    """Write what is looked for on behalf of the test's questions in a language, as table "subjects".

    A document counts as stating a fact where the title of the question's page and its first answer stand in a window of
    sentences. Titles and answers without a letter, or of one character, would be found everywhere and are not looked
    for: the pages of their questions go by the other levels alone.

    Args:
        qa: the table "qa".
        pages: the table "pages", for titles in the language.
        lang: the language.
        script: the Unicode script that its text is read by.
        out: the table to write.

    Returns:
        Notes for the record: ``questions``, and how many have ``no subject`` or ``no object`` to look for.

    Raises:
        InputError: no question of the test is in the language.
    """
    asked = tables.read(qa, ["question_id", "lang", "split", "page_id", "answers"])
    asked = asked[(asked["lang"] == lang) & (asked["split"] == TEST)]
    if asked.empty:
        raise InputError(qa, f"no question of the split {TEST} is in {lang}", "Give its file, or another test.")
    named = tables.read(pages, ["page_id", "lang", "title"])
    titles = named[named["lang"] == lang].set_index("page_id")["title"].to_dict()
    reading = script_of(script)

    def findable(label: str) -> bool:
        return speaks(label) and reading.phrase(label) is not None

    rows = []
    for question_id, page_id, answers in asked[["question_id", "page_id", "answers"]].itertuples(index=False):
        title = titles.get(page_id) or ""
        rows.append(
            {
                "question_id": question_id,
                "culture": PAGES,
                "lang": lang,
                "subject_rule": TITLE,
                "terms": [title] if findable(title) else [],
                "n_chunks": [],
                "aliases": [],
                "gold": answers[0] if findable(answers[0]) else None,
                "distractors": [],
            }
        )
    tables.write("subjects", rows, out)
    return {
        "questions": len(rows),
        "no subject": sum(not row["terms"] for row in rows),
        "no object": sum(row["gold"] is None for row in rows),
    }
