"""Samples as a torch-style dataset, encoded when asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth_trainer.data.dialogue_history import HistoryPool
from berth_trainer.data.encode import Encoded, Encoder
from berth_trainer.data.prompt_variants import PromptVariant
from berth_trainer.data.prompts import Parts, parts_of
from berth_trainer.data.samples import Sample, Samples
from berth_trainer.data.store import Array


@dataclass(frozen=True, slots=True)
class PersonaDataset:
    """One split under one ablation. Item i is the same on every rank and in every epoch."""

    samples: Samples
    pool: HistoryPool
    profiles: Mapping[str, tuple[str, ...]]
    variant: PromptVariant
    encoder: Encoder
    more: Sequence[Sample] = ()  # beside those of the corpus: questions without an answer

    def __len__(self) -> int:
        return len(self.samples) + len(self.more)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        encoded = self.encoded(index)
        return {"input_ids": encoded.input_ids, "labels": encoded.labels}

    def sample(self, index: int) -> Sample:
        own = len(self.samples)
        return self.samples[index] if index < own else self.more[index - own]

    def encoded(self, index: int) -> Encoded:
        """Item `index` fitted into the encoder's length."""
        return self.encoder.encode(self.parts(index), self.sample(index).target.text)

    def parts(self, index: int) -> Parts:
        """The parts of item `index`, whole, before they are fitted."""
        sample = self.sample(index)
        profile = self.profiles.get(sample.target.speaker, ())
        return parts_of(sample, self.variant, profile=profile, pool=self.pool)

    def speakers(self) -> Array:
        """The target of each sample, as a number."""
        return self.samples.speaker

    def selection(self) -> Any:
        """What tells this choice of samples and history from any other; plain data."""
        return [self.samples.digest(), self.pool.digest()]
