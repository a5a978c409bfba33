"""The settings of an input."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from siftlm.readers import InputSettings


def test_a_source_and_its_paths_are_enough() -> None:
    """Everything else has a default that suits most corpora."""
    chosen = InputSettings(source="web", paths=["data/*.jsonl.gz", "gs://bucket/x", "s3://bucket/x", "file:///x"])
    assert (chosen.format, chosen.text_field, chosen.max_document_bytes) == ("auto", "text", 16 << 20)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"source": "Web pages"}, "source"),
        ({"source": ""}, "source"),
        ({"paths": []}, "paths"),
        ({"paths": [""]}, "paths"),
        ({"paths": ["ftp://example.org/x"]}, "paths"),
        ({"format": "csv"}, "format"),
        ({"compression": "lz4"}, "compression"),
        ({"text_field": ""}, "text_field"),
        ({"max_document_bytes": 0}, "max_document_bytes"),
        ({"max_document_bytes": "1 MB"}, "max_document_bytes"),
        ({"metadata_fields": ["a", "a"]}, "metadata_fields"),
        ({"text_fields": "text"}, "text_fields"),
    ],
)
def test_a_wrong_value_is_an_error_at_its_place(wrong: dict[str, Any], place: str) -> None:
    """The path of the error is the key in the configuration."""
    with pytest.raises(ValidationError) as caught:
        InputSettings(**{"source": "web", "paths": ["x"], **wrong})
    assert caught.value.errors()[0]["loc"][0] == place


def test_every_field_is_described() -> None:
    """`siftlm schema` explains each key."""
    assert all(field.description for name, field in InputSettings.model_fields.items())
