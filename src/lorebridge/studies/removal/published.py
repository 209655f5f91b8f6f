"""What Yang et al. (paper 002) print in Tables 2 to 4: answers of models by filter and language, in percent."""

from __future__ import annotations

from collections.abc import Mapping

from lorebridge.corpora.qa_tasks import CONTEXT, CONTEXT_BASE, MCQ, OPEN
from lorebridge.tokens.levels import FILTERS, NOTHING

LEVELS = (NOTHING, *FILTERS)
"""Filter 0 to filter 4."""
LANGS = ("en", "hi")
F1, EM, RIGHT = "f1_strict", "em_strict", "correct"

PRINTED: Mapping[tuple[str, str, str], Mapping[str, tuple[float, ...]]] = {
    ("Table 2", OPEN, F1): {"en": (18.91, 19.31, 18.87, 19.52, 19.22), "hi": (20.43, 21.58, 20.63, 20.84, 20.66)},
    ("Table 2", OPEN, EM): {"en": (1.30, 1.20, 1.20, 1.00, 1.60), "hi": (1.20, 1.60, 1.00, 0.70, 1.30)},
    ("Table 3", MCQ, RIGHT): {"en": (24.70, 25.89, 28.40, 25.01, 27.27), "hi": (24.96, 26.20, 30.34, 25.20, 27.94)},
    ("Table 4, above", CONTEXT_BASE, F1): {
        "en": (35.73, 35.35, 34.29, 34.15, 33.53),
        "hi": (29.11, 29.17, 28.72, 27.98, 28.36),
    },
    ("Table 4, above", CONTEXT_BASE, EM): {
        "en": (17.90, 17.98, 16.22, 16.47, 15.46),
        "hi": (9.41, 9.41, 8.74, 8.32, 8.57),
    },
    ("Table 4, below", CONTEXT, F1): {
        "en": (35.67, 35.03, 35.29, 35.67, 35.00),
        "hi": (20.10, 20.52, 21.04, 20.48, 20.69),
    },
    ("Table 4, below", CONTEXT, EM): {"en": (17.90, 17.56, 18.15, 17.90, 16.97), "hi": (0.50, 0.50, 1.18, 0.34, 0.67)},
}
"""(where, task, metric) -> language -> percent by filter."""
FITS = {"Table 2": 1000, "Table 4, above": 1190, "Table 4, below": 1190}
"""How many questions would give the exact matches that are printed; no table says how many there were. Of Table 3 none
below 4,539 does."""
