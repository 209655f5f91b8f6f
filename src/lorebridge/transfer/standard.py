"""The contrasts of a study: those that it asks for, and those that no study with their arms should be read without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STANDARD = (("bridge_replay", "no_bridge_replay"),)
"""The bridge with the base language kept up in both arms: a gap into it that is less forgetting is none here."""


def contrasts(config: Mapping[str, Any]) -> list[list[str]]:
    """Return the pairs of arms that a study compares: those of ``transfer.contrasts``, then of :data:`STANDARD` those
    whose arms it trains.

    >>> asked = {"transfer": {"contrasts": [["bridge", "no_bridge"]]}}
    >>> contrasts(asked | {"arms": ["bridge", "no_bridge", "bridge_replay", "no_bridge_replay"]})
    [['bridge', 'no_bridge'], ['bridge_replay', 'no_bridge_replay']]
    >>> contrasts(asked | {"arms": ["bridge", "no_bridge", "bridge_replay"]})
    [['bridge', 'no_bridge']]
    """
    asked = [list(pair) for pair in config["transfer"]["contrasts"]]
    return asked + [list(pair) for pair in STANDARD if set(pair) <= set(config["arms"]) and list(pair) not in asked]
