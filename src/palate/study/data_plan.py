"""How several processes make the same data set from a catalogue folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from palate.dataset.dataset import Dataset
from palate.dataset.settings import SplitConfig


@dataclass(frozen=True)
class DataPlan:
    """How each process makes the same data set.

    Attributes:
        folder: of the catalogue.
        split: fields of `SplitConfig`.
        features: modalities; None takes all there are.
        impute: how to fill in what items lack; one way, or one for each modality.
    """

    folder: str
    split: dict[str, Any]
    features: list[str] | None
    impute: str | Mapping[str, str] = "none"

    def load(self) -> Dataset:
        """The data set."""
        return Dataset.load(self.folder, SplitConfig.parse(self.split), self.features, self.impute)
