"""What stands before the answer in a row of transliteration. Light: a dry run reads it."""

from __future__ import annotations

REASONED, NONE, UNRELATED = "reasoned", "answers", "unrelated"
TRACES = {
    REASONED: "candidates, what is recalled of each, which is meant",
    NONE: "nothing: the answer alone",
    UNRELATED: "as many characters of the same scripts, which name no candidate",
}
