"""From the data settings to the three datasets of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from berth_trainer.ablations import Ablation
from berth_trainer.data.dataset import PersonaDataset
from berth_trainer.data.digitaltwin import read_digitaltwin
from berth_trainer.data.encode import Encoder
from berth_trainer.data.history import HistoryPool
from berth_trainer.data.realpersonachat import is_realpersonachat, read_realpersonachat
from berth_trainer.data.records import Corpus, Dialogue
from berth_trainer.data.samples import make_samples
from berth_trainer.data.splits import Splits, split, without
from berth_trainer.problem import Problem
from berth_trainer.settings import Settings


@dataclass(frozen=True, slots=True)
class Material:
    """A corpus with its splits, before any tokenizer is known."""

    corpus: Corpus
    splits: Splits
    language: str


def load_material(settings: Settings) -> Material:
    """Read and divide the corpus. A `data.test_path` of its own takes the test split's place."""
    data = settings.data
    corpus = read_corpus(settings.locate(data.train_path), data.dataset)
    seed = settings.training.seed
    language = corpus.language if data.language == "auto" else data.language
    if not data.test_path:
        found = split(
            corpus.dialogues, validation=data.validation_fraction, test=data.test_fraction, seed=seed
        )  # fmt: skip
        return Material(corpus, _checked(found, settings), language)
    tests = read_corpus(settings.locate(data.test_path), data.dataset)
    rest = without(corpus.dialogues, tests.dialogues)
    found = split(rest, validation=data.validation_fraction, test=0.0, seed=seed)
    both = Corpus(corpus.name, corpus.language, corpus.dialogues + tests.dialogues,
                  {**tests.profiles, **corpus.profiles})  # fmt: skip
    return Material(
        both, _checked(Splits(found.train, found.validation, tests.dialogues), settings), language
    )


def read_corpus(path: Path, dataset: str) -> Corpus:
    """Read a corpus; `auto` tells the format by what lies at `path`."""
    if not path.exists():
        raise Problem(
            f"{path} does not exist; set data.train_path and data.test_path to your data."
        )
    readers: dict[str, Callable[[Path], Corpus]] = {
        "realpersonachat": read_realpersonachat,
        "digitaltwin": read_digitaltwin,
    }
    if dataset == "auto":
        dataset = "realpersonachat" if is_realpersonachat(path) else "digitaltwin"
    return readers[dataset](path)


def make_dataset(
    material: Material,
    dialogues: Sequence[Dialogue],
    *,
    settings: Settings,
    ablation: Ablation,
    encoder: Encoder,
    limit: int,
) -> PersonaDataset:
    """One split's dataset; its history comes from that split alone."""
    return PersonaDataset(
        samples=make_samples(dialogues, limit=limit),
        pool=HistoryPool(dialogues, settings.history, settings.training.seed),
        profiles=material.corpus.profiles,
        ablation=ablation,
        encoder=encoder,
    )


def _checked(splits: Splits, settings: Settings) -> Splits:
    if not make_samples(splits.train, limit=1):
        raise Problem(
            f"{settings.data.train_path} leaves no dialogue to train on: it needs turns of a "
            "target person that follow a partner's."
        )
    return splits
