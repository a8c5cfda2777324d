"""Dataset that encodes samples on access."""

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
    """One split with one prompt variant. Item i is the same on every rank and in every epoch."""

    samples: Samples
    pool: HistoryPool
    profiles: Mapping[str, tuple[str, ...]]
    variant: PromptVariant
    encoder: Encoder
    more: Sequence[Sample] = ()  # in addition to the corpus: questions without an answer

    def __len__(self) -> int:
        return len(self.samples) + len(self.more)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        encoded = self.encoded(index)
        return {"input_ids": encoded.input_ids, "labels": encoded.labels}

    def sample(self, index: int) -> Sample:
        own = len(self.samples)
        return self.samples[index] if index < own else self.more[index - own]

    def encoded(self, index: int) -> Encoded:
        """Return item `index`, fitted into the encoder's length."""
        return self.encoder.encode(self.parts(index), self.sample(index).target.text)

    def parts(self, index: int) -> Parts:
        """Return the parts of item `index` before they are fitted."""
        sample = self.sample(index)
        profile = self.profiles.get(sample.target.speaker, ())
        return parts_of(sample, self.variant, profile=profile, pool=self.pool)

    def speakers(self) -> Array:
        """Return the target speaker of each sample, as a number."""
        return self.samples.speaker

    def selection(self) -> Any:
        """Return plain data that identifies this choice of samples and history."""
        return [self.samples.digest(), self.pool.digest()]
