"""What studies of every kind may plan with: the stages of all folders, by name."""

from __future__ import annotations

from lorebridge.corpora import stages as corpora
from lorebridge.figures import stages as figures
from lorebridge.probes import stages as probes
from lorebridge.tokens import stages as tokens
from lorebridge.trace import stages as trace
from lorebridge.train import stages as train
from lorebridge.transfer import stages as transfer
from lorebridge.world import stages as world

SHARED = {
    stage.name: stage
    for folder in (world, corpora, tokens, train, probes, trace, transfer, figures)
    for stage in folder.STAGES
}
"""A kind's own stages come beside these; the rules of these are there for every kind."""
