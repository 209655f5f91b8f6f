"""A test that a study of bridges may declare."""


def declared_test(**said) -> dict:
    """A test that a study may declare, of what every study of bridges has."""
    test = {
        "name": "Korean",
        "contrast": ["bridge", "no_bridge"],
        "direction": "en->xx",
        "languages": ["ko"],
        "minus": [],
    }
    shared = {
        "among": "all",
        "scale": "all questions",
        "subset": "clean",
        "prefix": "bare",
        "over_seeds": False,
        "margin": 0.05,
    }
    return test | shared | said
