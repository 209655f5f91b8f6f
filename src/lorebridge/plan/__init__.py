"""What a study plans: stages, rows, and the walk over them. Standard library only."""

from lorebridge.plan.plan import Plan
from lorebridge.plan.stage import Artifact, artifact
from lorebridge.plan.study import Study

__all__ = ["Artifact", "Plan", "Study", "artifact"]
