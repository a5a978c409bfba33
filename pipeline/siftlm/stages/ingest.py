"""Reads every input shard into a Parquet shard of documents/, and writes unreadable records beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from siftlm.documents import DOCUMENT_SCHEMA, document_id, registered_domain
from siftlm.engine.shards import Task
from siftlm.engine.step import Shard, ShardStep
from siftlm.readers import InputSettings, detect
from siftlm.readers.presence import count_values
from siftlm.scorers.protocol import ragged_text
from siftlm.stages.fields import FieldColumns, FieldsFile
from siftlm.stages.inputs import Files
from siftlm.stages.slicing import SLICES, read_unchanged, shares
from siftlm.store import Marker, Store, digest
from siftlm.tables import ShardWriter

VERSION = 9
STAGE = "documents"
REJECTS = ".rejects.parquet"
BATCH_BYTES = 32 << 20  # of text
UNTELLING = b"\xff"  # a beginning that leaves format and compression to the name of the file
REJECT_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("kind", pa.string(), nullable=False),  # skipped, or error
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("records", pa.int64(), nullable=False),  # in a stretch that cannot be read
    ]
)


@dataclass(frozen=True)
class Ingest(ShardStep):
    """Reads input shards into documents; `inputs` holds the settings of each source by its name."""

    inputs: Mapping[str, InputSettings]
    batch_bytes: int = BATCH_BYTES
    fields: FieldColumns | None = None  # what is written in the same pass
    name: str = STAGE

    def identity(self) -> object:
        return VERSION

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:  # noqa: ARG002
        """Returns tasks keyed by the source's settings, the file's bytes and the format that its name shows.

        Fields kept as columns belong to another step, but are written in the same pass: their key is computed here.
        """
        elsewhere = {"paths", "columns", "shard_bytes"}
        identities = {name: settings.model_dump(exclude=elsewhere) for name, settings in self.inputs.items()}
        tasks = [
            shard.task(
                _key(shard, identities[shard.facts["source"]]), **{SLICES: [part.packed for part in shard.reads]}
            )
            for shard in shards
        ]
        if self.fields is None:
            return tasks
        beside = [self.fields.key(task.key, task.facts["source"]) for task in tasks]
        return [replace(task, facts={**task.facts, "fields": key}) for task, key in zip(tasks, beside, strict=True)]

    def run(self, task: Task, store: Store) -> Marker:
        settings = self.inputs[task.facts["source"]]
        skipped: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        values: Counter[str] = Counter()
        unusable: Counter[str] = Counter()
        records: list[int] = []
        text_bytes = domains = 0
        rejects: ShardWriter | None = None  # of a file that is there only where something could not be read
        fields: FieldsFile | None = None
        with store.writer(STAGE, task.key, DOCUMENT_SCHEMA) as documents, ExitStack() as files:
            if self.fields:
                fields = files.enter_context(self.fields.writing(task.facts["fields"], settings, store))
            for read in read_unchanged(task, settings, self.batch_bytes, records):
                batch = to_documents(read.documents, settings.source)
                documents.write(batch)
                if fields:
                    fields.write(read.documents)
                if read.rejects:
                    rejects = rejects or files.enter_context(
                        store.writer(STAGE, task.key, REJECT_SCHEMA, suffix=REJECTS)
                    )
                    rows = [asdict(reject) for reject in read.rejects]
                    rejects.write(pa.RecordBatch.from_pylist(rows, schema=REJECT_SCHEMA))
                text_bytes += pc.sum(batch["byte_count"]).as_py() or 0
                domains += batch.num_rows - batch["domain"].null_count
                values += count_values(read.documents, settings)
                unusable += read.unusable
                for reject in read.rejects:
                    (skipped if reject.kind == "skipped" else errors)[reject.reason] += reject.records
        if fields:
            store.commit(fields.marker(task, task.facts["fields"]))
        rows_out = documents.rows
        return Marker(
            stage=STAGE,
            key=task.key,
            shard=task.name,
            rows_in=rows_out + skipped.total() + errors.total(),
            rows_out=rows_out,
            dropped=dict(sorted(skipped.items())),
            errors=dict(sorted(errors.items())),
            files={".parquet": documents.seal} | ({REJECTS: rejects.seal} if rejects else {}),
            facts={
                "text_bytes": text_bytes,
                "domains": domains,
                "values": dict(values),
                "unusable": dict(unusable),
                "records": records,
            },
        )


def _key(shard: Shard, identity: object) -> str:
    """The key of a shard's documents, by what it reads and the formats that names of files show."""
    read = [(part.identity, _named(part.path)) for part in shard.reads]
    return digest("ingest", VERSION, identity, read)


@lru_cache(maxsize=1 << 16)
def _named(path: str) -> tuple[str, str]:
    named = detect(path.rpartition("/")[2], UNTELLING)
    return named.format, named.compression


def shards(inputs: Sequence[InputSettings], files: Files) -> list[Shard]:
    """Returns the shards of all sources, these in the order of the configuration, each with what it reads."""
    made: list[Shard] = []
    for settings in inputs:
        for share in shares(settings, files[settings.source]):
            first, *others = share
            name = f"{first.name} and {len(others):,} more" if others else first.name
            facts = {
                "source": settings.source,
                "fingerprint": digest([part.identity for part in share]) if others else first.fingerprint,
                "bytes": sum(part.size for part in share),
            }
            made.append(Shard(len(made), name, facts, reads=tuple(share)))
    return made


def to_documents(records: pa.RecordBatch, source: str) -> pa.RecordBatch:
    """Returns a batch of records (RECORD_SCHEMA) as documents (DOCUMENT_SCHEMA), with ids, domains and sizes."""
    urls = records["url"].to_pylist()
    texts = records["text"]
    values, offsets = ragged_text(texts)
    view = memoryview(values)  # type: ignore[arg-type]  # numpy arrays have had the buffer protocol before it had a type
    spans = pairwise(offsets.tolist())
    ids = [
        record_id or document_id(None, url, view[start:end])
        for record_id, url, (start, end) in zip(records["record_id"].to_pylist(), urls, spans, strict=True)
    ]
    domains = [
        configured if configured is not None else registered_domain(url)
        for configured, url in zip(records["domain"].to_pylist(), urls, strict=True)
    ]
    columns = {
        **{name: records[name] for name in ("text", "url", "metadata", "position")},
        "doc_id": ids,
        "domain": domains,
        "source": [source] * records.num_rows,
        "byte_count": pc.cast(pc.binary_length(texts), pa.int64()),
    }
    return pa.RecordBatch.from_pydict(columns, schema=DOCUMENT_SCHEMA)
