"""Loading of corpora and splits by the data settings."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.config.settings import Settings
from berth_trainer.data import store
from berth_trainer.data.cache import Cache, Progress, default_root
from berth_trainer.data.dataset import PersonaDataset
from berth_trainer.data.dialogue_history import HistoryPool
from berth_trainer.data.digitaltwin import open_digitaltwin
from berth_trainer.data.encode import Encoder
from berth_trainer.data.prompt_variants import PromptVariant
from berth_trainer.data.realpersonachat import is_realpersonachat, open_realpersonachat
from berth_trainer.data.records import Dialogue, Profiles, Source
from berth_trainer.data.samples import make_samples
from berth_trainer.data.splits import Splits, split, without
from berth_trainer.data.store import Dialogues, Store
from berth_trainer.data.texts import Oddities
from berth_trainer.errors import UserError
from berth_trainer.training.ranks import warn

_VERSION = 2  # of the corpus entries in the cache
NO_CACHE = "none"


@dataclass(frozen=True, slots=True)
class Corpus:
    """
    A corpus in time order; `profiles` holds each target's lines, `notes` a sentence for each kind
    of value that is no text.
    """

    name: str
    language: str
    dialogues: Dialogues
    profiles: Profiles
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """A corpus with its splits, before tokenizing. `cache` None: no cache is used."""

    corpus: Corpus
    splits: Splits
    language: str
    cache: Cache | None


def cache_of(settings: Settings) -> Cache | None:
    """Return the data cache that the config file asks for, None where it asks for none."""
    given = settings.data.cache_folder
    if given == NO_CACHE:
        return None
    root = settings.locate(given) if given else default_root()
    return Cache(root, settings.data.cache_gib << 30)


def load_material(settings: Settings) -> Material:
    """Read and split the corpus. A `data.test_path` replaces the test split."""
    data = settings.data
    cache = cache_of(settings)
    corpus = read_corpus(_located(settings, "train_path"), data.dataset, cache)
    _warn_of_oddities(corpus)
    seed = settings.training.seed
    language = corpus.language if data.language == "auto" else data.language
    if not data.test_path:
        found = split(
            corpus.dialogues, validation=data.validation_fraction, test=data.test_fraction, seed=seed
        )  # fmt: skip
        return Material(corpus, _checked(found, settings), language, cache)
    tests = read_corpus(_located(settings, "test_path"), data.dataset, cache)
    _warn_of_oddities(tests)
    rest = without(corpus.dialogues, tests.dialogues)
    if not len(rest) and len(corpus.dialogues):
        raise UserError(
            "every dialogue of data.train_path is in data.test_path too, so none is left to "
            "train on; point them at different data, or leave out data.test_path."
        )
    found = split(rest, validation=data.validation_fraction, test=0.0, seed=seed)
    both = Corpus(corpus.name, corpus.language, corpus.dialogues,
                  {**tests.profiles, **corpus.profiles})  # fmt: skip
    splits = Splits(found.train, found.validation, tests.dialogues)
    return Material(both, _checked(splits, settings), language, cache)


def read_corpus(path: Path, dataset: str, cache: Cache | None = None) -> Corpus:
    """
    Return a corpus, memory-mapped from the cache, which the first reading fills.

    `auto` tells the format by what lies at `path`. Without a cache its text is held in memory.
    """
    source = _open(path, dataset)
    if cache is None:
        profiles: Profiles = {}
        oddities = Oddities()
        dialogues = store.in_memory(source.read(profiles, oddities))
        notes = tuple(oddities.sentences())
        return Corpus(source.name, source.language, dialogues, profiles, notes)
    folder = cache.entry(f"corpus-{_manifest(source)}", lambda into: _write(source, into))
    facts = json.loads((folder / "corpus.json").read_text("utf-8"))
    columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in store.COLUMNS}
    found = Store(_mapped(folder / "dialogues.jsonl"), columns, tuple(facts["speakers"]), facts["digest"])  # fmt: skip
    profiles = {name: tuple(lines) for name, lines in facts["profiles"].items()}
    notes = tuple(facts["notes"])
    return Corpus(source.name, source.language, store.every(found), profiles, notes)


def make_dataset(
    material: Material,
    dialogues: Sequence[Dialogue],
    *,
    settings: Settings,
    variant: PromptVariant,
    encoder: Encoder,
    limit: int,
) -> PersonaDataset:
    """Return one split's dataset; its history comes from that split alone."""
    return PersonaDataset(
        samples=make_samples(dialogues, limit=limit),
        pool=HistoryPool(dialogues, settings.history, settings.training.seed),
        profiles=material.corpus.profiles,
        variant=variant,
        encoder=encoder,
    )


def _warn_of_oddities(corpus: Corpus) -> None:
    for note in corpus.notes:
        warn(note)


def _located(settings: Settings, key: str) -> Path:
    """Return the path `data.<key>`. Raises UserError where it does not exist."""
    path = settings.locate(getattr(settings.data, key))
    if not path.exists():
        raise UserError(f"data.{key} {path} does not exist; set it to your data.")
    return path


def _open(path: Path, dataset: str) -> Source:
    if dataset == "auto":
        dataset = "realpersonachat" if is_realpersonachat(path) else "digitaltwin"
    return open_realpersonachat(path) if dataset == "realpersonachat" else open_digitaltwin(path)


def _manifest(source: Source) -> str:
    """Return a digest of names, sizes and times; the store's own digest covers the contents."""
    digest = blake2b(f"{_VERSION} {source.name}".encode(), digest_size=16)
    for file in source.files:
        try:
            found = file.stat()
        except FileNotFoundError:
            raise UserError(f"{file} does not exist; set data.train_path to your data.") from None
        digest.update(os.fsencode(file) + f" {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _write(source: Source, into: Path) -> None:
    profiles: Profiles = {}
    oddities = Oddities()
    progress = Progress("reading files", len(source.files)) if len(source.files) > 2 else None
    with (into / "dialogues.jsonl").open("wb") as file:
        count = 0

        def write(line: bytes) -> None:
            nonlocal count
            file.write(line)
            count += 1
            if progress:
                progress.reached(count)

        built = store.build(source.read(profiles, oddities), write)
    for name, values in built.columns.items():
        np.save(into / f"{name}.npy", values)
    facts = {
        "speakers": built.speakers,
        "digest": built.digest,
        "profiles": profiles,
        "notes": oddities.sentences(),
    }
    write_json(into / "corpus.json", facts)


def _mapped(file: Path) -> Any:
    return np.memmap(file, np.uint8, "r") if file.stat().st_size else b""


def _checked(splits: Splits, settings: Settings) -> Splits:
    if not make_samples(splits.train, limit=1):
        raise UserError(
            f"{settings.data.train_path} leaves no dialogue to train on: it needs turns of a "
            "target person that follow a partner's."
        )
    return splits
