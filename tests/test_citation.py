"""CITATION.cff says what it must, and what the package says."""

from __future__ import annotations

import json
import tomllib

import pytest
import yaml
from jsonschema import Draft7Validator, FormatChecker


@pytest.fixture(scope="module")
def citation(root):
    return yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema(root):
    """The schema of the Citation File Format 1.2.0 (doi:10.5281/zenodo.5171937, CC BY 4.0)."""
    return json.loads((root / "tests" / "data" / "cff-1.2.0.schema.json").read_text(encoding="utf-8"))


def test_it_is_of_the_format(citation, schema):
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema, format_checker=FormatChecker())
    assert [error.message for error in validator.iter_errors(citation)] == []
    assert not validator.is_valid(citation | {"license": "Apache"})  # the schema is looked at


def test_it_says_what_the_package_says(citation, root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["title"].startswith(f"{project['name']}: ")
