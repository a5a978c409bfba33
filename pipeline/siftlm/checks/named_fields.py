"""Finds configured fields that no document of an input has, or whose values cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from siftlm.checks.mentions import components
from siftlm.config import RunConfig
from siftlm.documents import registered_domain
from siftlm.errors import UserError, nearest
from siftlm.patterns import InputFile
from siftlm.readers import InputSettings, read_shard
from siftlm.readers.columns import schema, typed
from siftlm.readers.presence import count_values, field_names
from siftlm.store import Marker

SAMPLE_DOCUMENTS = 200  # of each of three files
LOOKED_AT = " among the first of its files"
_NEAR = 0.5  # how alike a name must be to be the one that was meant, by difflib
_INSTEAD = {
    "id_field": "their id is a digest of url and text",
    "url_field": "they have no url",
    "domain_field": "their domain is that of the url",
}


@dataclass
class Seen:
    """Counts all documents, those with a domain, and per field those with a value or an unusable one."""

    documents: int = 0
    domains: int = 0
    values: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    columns: bool = False  # whether the fields of columns are among these; a run has another step for them


def looked_at(files: Sequence[InputFile]) -> list[InputFile]:
    """Returns the first, the middle and the last file of a source, each once."""
    chosen = (files[0], files[len(files) // 2], files[-1]) if files else ()
    return list({file.path: file for file in chosen}.values())


def sample(settings: InputSettings, files: Sequence[InputFile]) -> Seen:
    """Returns the counts of domains and field values in the first documents of a source's files."""
    seen = Seen()
    for file in looked_at(files):
        read = next(read_shard(file.path, settings, batch_documents=SAMPLE_DOCUMENTS), None)
        if read is not None:
            documents = read.documents
            seen.documents += documents.num_rows
            made = typed(documents["columns"], settings, schema([settings]))
            seen.values += count_values(documents, settings) + made.values
            seen.unusable += read.unusable + made.unusable
            seen.columns = True
            named, urls = documents["domain"].to_pylist(), documents["url"].to_pylist()
            seen.domains += sum(bool(domain or registered_domain(url)) for domain, url in zip(named, urls, strict=True))
    return seen


def samples(config: RunConfig, files: Mapping[str, Sequence[InputFile]]) -> dict[str, Seen]:
    """Returns the sampled counts of every source, which are empty where there is no field to check."""
    needed = groups_by_domain(config) is not None
    return {
        settings.source: sample(settings, files[settings.source]) if needed or _named(settings) else Seen()
        for settings in config.input
    }


def counted(markers: Iterable[Marker]) -> Seen:
    """Returns the counts of domains and field values in all documents of some shards, from their markers."""
    seen = Seen()
    for marker in markers:
        seen.documents += marker.rows_out
        seen.domains += int(marker.facts["domains"])
        seen.values.update(marker.facts["values"])
        seen.unusable.update(marker.facts["unusable"])
    return seen


def said(settings: InputSettings, files: Sequence[InputFile], seen: Seen, which: str = "") -> list[str]:
    """Returns one sentence for every configured field that no document has, or that has unusable values.

    The field of urls is only among them where the user has named it.
    """
    fields = {p: path for p, path in _named(settings).items() if seen.columns or not p.startswith("columns.")}
    absent = {place: path for place, path in fields.items() if not seen.values[place] and not seen.unusable[place]}
    names = {name for file in looked_at(files) for name in field_names(file.path, settings)} if absent else set()
    lines = [_absent(settings, place, path, names, which) for place, path in absent.items()] if seen.documents else []
    told = [place for place in seen.unusable if place != "url_field" or place in fields]
    return lines + [_unusable(settings, place, seen) for place in told]


def _named(settings: InputSettings) -> dict[str, str]:
    """The fields beside the text that the user has named."""
    default = set() if "url_field" in settings.model_fields_set else {"url_field"}
    return {place: path for place, path in settings.extra_fields.items() if place not in default}


def _absent(settings: InputSettings, place: str, path: str, names: set[str], which: str) -> str:
    key = place.partition(".")[0]
    if path in names:
        hint = "it is null wherever it was looked for"
    else:
        near = nearest(path, sorted(names - {settings.text_field}), _NEAR)
        there = ", ".join(sorted(names)[:10]) or "none"
        hint = f"did you mean {near!r}?" if near else f"there are {there}"
    return f"input {settings.source!r}: {key}: no document{which} has a value of {path!r}; {hint}"


def _unusable(settings: InputSettings, place: str, seen: Seen) -> str:
    key, _, name = place.partition(".")
    path = name or settings.extra_fields.get(place)
    what = f"a value of {path!r}" if path else "metadata"
    instead = _INSTEAD.get(key, "it is null there")
    return (
        f"input {settings.source!r}: {key}: {seen.unusable[place]:,} of {seen.documents:,} documents have {what} "
        f"that cannot be used: of another type, too long, or damaged; {instead}"
    )


def check_domains(config: RunConfig, seen: Mapping[str, Seen], which: str = "") -> None:
    """Raises UserError if the configuration groups documents by domain but no document has one."""
    place = groups_by_domain(config)
    documents = sum(part.documents for part in seen.values())
    if place is None or not documents or any(part.domains for part in seen.values()):
        return
    raise UserError(
        f"{place}: must name a column that documents have, got 'domain', which is null for all {documents:,} "
        f"documents{which}; input.url_field or input.domain_field names the field that it comes from"
    )


def groups_by_domain(config: RunConfig) -> str | None:
    """Returns the first dotted place in the configuration that groups documents by domain, or None."""
    for place, component in components(config):
        key, column = component.grouped_by or ("", "")
        if column == "domain":
            return f"{place}.{key}"
    return None
