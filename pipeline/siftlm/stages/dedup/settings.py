"""Defines the settings for removing duplicates, shared by the steps that read clusters/."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from siftlm.paths import ReadPath
from siftlm.scorers import ScorerSettings, ShingleSettings, SignatureSettings
from siftlm.settings import Settings
from siftlm.stages.commonness.settings import CommonnessSettings
from siftlm.stages.paragraphs.settings import ParagraphSettings

STAGE = "clusters"


class DedupSettings(Settings):
    """Configures the removal of exact and near-duplicates over the whole corpus."""

    shingles: ShingleSettings = Field(default_factory=ShingleSettings, description="How near-duplicates are found.")

    exact: bool = Field(True, description="Link documents with the same bytes.")
    near: bool = Field(True, description="Link documents that share a MinHash LSH band.")
    keep: str = Field(
        "byte_count",
        description="The representative of a cluster has the largest value of this column, ties by doc_id.",
    )
    action: Literal["drop", "annotate"] = Field(
        "drop", description="Drop duplicates, or keep them and only tell their cluster, for weights by cluster_size."
    )
    verify: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Link near-duplicates only at this Jaccard similarity of their shingles or more, counted exactly.",
    )
    against: list[ReadPath] = Field(
        default_factory=list,
        description="Folders of earlier runs, with whose documents new ones are compared; the earlier one stays.",
    )
    paragraphs: ParagraphSettings | None = Field(
        None, description="Cut lines or paragraphs that other documents have too; left out, texts stay whole."
    )
    commonness: CommonnessSettings | None = Field(
        None, description="A column `commonness`, how well the other documents' n-grams predict each (SoftDedup)."
    )
    signatures: Literal["datasketch"] | None = Field(
        None,
        description="A column `minhash` of all documents that `datasketch.LeanMinHash.deserialize` reads, for a "
        "MinHashLSH of yours; of `shingles`, with bands * rows permutations or as many as it names.",
    )
    partitions: int = Field(0, ge=0, le=65_536, description="Partitions of the shuffle; 0 sizes them to the data.")

    @property
    def drops(self) -> bool:
        """Tells whether duplicates are dropped rather than only annotated."""
        return self.action == "drop"

    def scorers(self) -> tuple[ScorerSettings, ...]:
        """Returns the scorers that annotate runs for dedup: LSH bands, and signatures for use outside siftlm."""
        near = (self.shingles,) if self.near else ()
        return (*near, SignatureSettings.of(self.shingles)) if self.signatures else near
