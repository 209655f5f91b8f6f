"""The names of what estimates an effect of one script; as light as a dry run needs."""

from __future__ import annotations

LINEAR, LOGIT, GEE, MIXED, ROWS = "permutation", "logit", "gee", "mixed", "rows"
PEERS = {
    LOGIT: "logit of cells (model × source × target), errors clustered by two languages",
    GEE: "generalised estimating equations of the same cells",
    ROWS: "logit of rows with models and difficulty, clustered by question: what not to do",
    MIXED: "mixed logit of rows by variational Bayes; many minutes for ten thousand answers",
}
"""Method beside the headline's -> what it is."""
CHEAP = (LOGIT, GEE, ROWS)
"""Those that take seconds."""
MOST = 20_000
"""Labelings up to which all are gone through; MultiLoKo has 16,016 within families, ECLeKTic 792."""
