"""The planted world: languages, facts, documents, questions, and the truth about them."""

from lorebridge.world.planting import generate

__all__ = ["generate"]
