"""Samples as a torch-style dataset, encoded when asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from berth_trainer.ablations import Ablation
from berth_trainer.data.encode import Encoder
from berth_trainer.data.history import HistoryPool
from berth_trainer.data.samples import Sample
from berth_trainer.prompts import Parts, parts_of


@dataclass(frozen=True, slots=True)
class PersonaDataset:
    """One split under one ablation. Item i is the same on every rank and in every epoch."""

    samples: Sequence[Sample]
    pool: HistoryPool
    profiles: Mapping[str, tuple[str, ...]]
    ablation: Ablation
    encoder: Encoder

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        sample = self.samples[index]
        encoded = self.encoder.encode(self.parts(index), sample.target.text)
        return {"input_ids": encoded.input_ids, "labels": encoded.labels}

    def parts(self, index: int) -> Parts:
        """The parts of item `index`, whole, before they are fitted."""
        sample = self.samples[index]
        profile = self.profiles.get(sample.target.speaker, ())
        return parts_of(sample, self.ablation, profile=profile, pool=self.pool)
