"""Lists the kinds of lists that a rule can name; a new one must be added to the union here."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from siftlm.selectors.lists.domains import DomainsList
from siftlm.selectors.lists.hashes import HashesList
from siftlm.selectors.lists.patterns import PatternsList
from siftlm.selectors.lists.urls import UrlsList
from siftlm.selectors.lists.ut1 import Ut1List
from siftlm.selectors.lists.values import ValuesList


def values_unless_told(value: object) -> object:
    """Returns the settings of a list that names no kind: `ut1` where it has categories, else `values`."""
    if not isinstance(value, dict):
        return value
    return {"kind": "ut1" if "categories" in value else "values", **value}


AnyList = Annotated[
    Annotated[ValuesList | DomainsList | UrlsList | PatternsList | HashesList | Ut1List, Field(discriminator="kind")],
    BeforeValidator(values_unless_told),
]
