"""What models are by their names, and the manners in which masked ones are asked; light, for plans."""

from __future__ import annotations

from typing import Any, Literal


def named_objective(classes: Any) -> Literal["causal", "masked"] | None:
    """Return what a model was trained to do by the classes that its configuration names; None where these do not say.

    Args:
        classes: ``architectures`` of its ``config.json``: a list of names, or whatever stands there.

    >>> named_objective(["BertForMaskedLM"]), named_objective(["GPT2LMHeadModel"]), named_objective(["BertModel"])
    ('masked', 'causal', None)
    """
    named = str(classes)
    if "MaskedLM" in named:
        return "masked"
    return "causal" if "CausalLM" in named or "LMHead" in named else None


DECODES = {
    "simultaneous": "all masks at once, each by itself (Petroni et al., EMNLP 2019; Zhao et al., EACL 2024)",
    "left_to_right": "the first mask, then the second with the first filled, and so on (Jiang et al., EMNLP 2020)",
    "pll": "each piece with all others in place, the pseudo-log-likelihood (Salazar et al., ACL 2020)",
}
"""How masks are filled."""
LENGTHS = {
    "gold": "as many masks as the gold has pieces, and of the candidates those with so many",
    "any": "in the vocabulary every number of masks up to that of the longest candidate, right if one gives the gold; "
    "of candidates, each with its own number",
}
"""How many masks there are."""
SPACES = {
    "vocabulary": "what the model writes must be the gold",
    "candidates": "the gold must have the highest mean log-probability of a piece (Kassner et al., EACL 2021)",
}
"""What the gold is compared with."""
BARES = {
    "drop": "a piece that is a space alone is dropped of the objects and of what the model writes",
    "keep": "it is a piece as others are",
}
"""What becomes of SentencePiece's bare space."""
REFERENCES = {
    "common": "the same facts of its relation in every language, right or not, those that are asked in most languages",
    "right": "the facts of its relation that the model has right in the language (Zhao et al., EACL 2024)",
}
"""What a fact's neurons tell it from."""
BINNINGS = {
    "contiguous": "neurons that stand beside each other are one bin",
    "strided": "every n-th neuron is of one bin, as in the paper's code",
}
"""How the neurons of a layer are put into n bins."""
