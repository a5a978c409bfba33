"""Lists the scorers that a configuration can name; a new scorer must be added to a union here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from siftlm.scorers.compression import CompressionSettings
from siftlm.scorers.contamination import ContaminationSettings
from siftlm.scorers.distilled import DistilledSettings
from siftlm.scorers.document_model import DocumentModelSettings
from siftlm.scorers.dsir import DsirSettings
from siftlm.scorers.fasttext import ClassifierSettings
from siftlm.scorers.gradients.grand import GrandSettings
from siftlm.scorers.gradients.information_gain import InformationGainSettings
from siftlm.scorers.gradients.mimic import MimicSettings
from siftlm.scorers.gradients.self_influence import SelfInfluenceSettings
from siftlm.scorers.gradients.weight_alignment import WeightAlignmentSettings
from siftlm.scorers.gradients.weight_update import WeightUpdateSettings
from siftlm.scorers.language import LanguageSettings
from siftlm.scorers.lm import LMSettings
from siftlm.scorers.memorization import MemorizationSettings
from siftlm.scorers.ngram_by_language import LanguageNgramSettings
from siftlm.scorers.ngram_lm import NgramModelSettings
from siftlm.scorers.protocol import ScorerSettings
from siftlm.scorers.python import PythonSettings
from siftlm.scorers.sequence_classifier import SequenceClassifierSettings
from siftlm.scorers.signals import SignalsSettings
from siftlm.scorers.text_hash import TextHashSettings
from siftlm.settings import Settings


def lm_unless_told(value: object) -> object:
    """Returns the settings of a score with `kind = "lm"` where they name no kind."""
    return {"kind": "lm", **value} if isinstance(value, dict) else value


def rater_unless_told(value: object) -> object:
    """Returns the settings of a model with `kind = "sequence_classifier"` where they name no kind."""
    return {"kind": "sequence_classifier", **value} if isinstance(value, dict) else value


AnyDocumentModel = Annotated[
    Annotated[
        SequenceClassifierSettings
        | MemorizationSettings
        | SelfInfluenceSettings
        | GrandSettings
        | MimicSettings
        | WeightAlignmentSettings
        | WeightUpdateSettings
        | InformationGainSettings,
        Field(discriminator="kind"),
    ],
    BeforeValidator(rater_unless_told),
]
AnyAnnotator = Annotated[
    LanguageSettings
    | SignalsSettings
    | ClassifierSettings
    | SequenceClassifierSettings
    | MemorizationSettings
    | SelfInfluenceSettings
    | GrandSettings
    | MimicSettings
    | WeightAlignmentSettings
    | WeightUpdateSettings
    | InformationGainSettings
    | DistilledSettings
    | DsirSettings
    | ContaminationSettings
    | CompressionSettings
    | TextHashSettings
    | PythonSettings,
    Field(discriminator="kind"),
]
AnyScore = Annotated[
    Annotated[LMSettings | NgramModelSettings | LanguageNgramSettings, Field(discriminator="kind")],
    BeforeValidator(lm_unless_told),
]


class AnnotateSettings(Settings):
    """Configures the cheap columns that are computed for every document."""

    language: LanguageSettings | None = Field(
        default_factory=LanguageSettings,
        description="Language identification with fastText's lid.176; false leaves it out.",
    )
    signals: SignalsSettings | None = Field(
        default_factory=SignalsSettings,
        description="The text signals of Gopher, C4 and FineWeb; false leaves them out.",
    )
    classifiers: list[ClassifierSettings] = Field(
        default_factory=list, description="fastText classifiers, each a column with the probability of a label."
    )
    models: list[AnyDocumentModel] = Field(
        default_factory=list,
        description="Models of transformers that read documents: sequence classification models, which rate quality, "
        "toxicity, language, what a causal model knows by heart, and the gradient that a document has under it.",
    )
    dsir: list[DsirSettings] = Field(
        default_factory=list, description="DSIR importance weights, each a log weight and its resampling key."
    )
    contamination: list[ContaminationSettings] = Field(
        default_factory=list, description="Benchmarks, each a column with the share of the document that it holds."
    )
    python: list[PythonSettings] = Field(
        default_factory=list, description="Functions of your own, each with the columns that it computes."
    )
    others: list[AnyAnnotator] = Field(
        default_factory=list, description="Any scorer of texts, its method told by `kind`; as many as you like."
    )

    @field_validator("language", "signals", mode="before")
    @classmethod
    def _false_is_none(cls, value: object) -> object:
        """TOML has no null."""
        return None if value is False else value

    def placed(self) -> Iterator[tuple[str, ScorerSettings]]:
        """Yields every scorer's settings with their configuration key, such as `annotate.dsir.0`."""
        for key, value in self:
            if isinstance(value, list):
                yield from ((f"annotate.{key}.{number}", settings) for number, settings in enumerate(value))
            elif value is not None:
                yield f"annotate.{key}", value

    def scorers(self) -> tuple[ScorerSettings, ...]:
        return tuple(settings for _, settings in self.placed())

    def by_model(self) -> tuple[DocumentModelSettings, ...]:
        """Returns the scorers whose columns steps of their own compute, on the devices that language models use."""
        return tuple(settings for settings in self.scorers() if isinstance(settings, DocumentModelSettings))
