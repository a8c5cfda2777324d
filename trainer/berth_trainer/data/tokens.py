"""Token cache: samples encoded once, memory-mapped by every rank of every run."""

import ctypes
import inspect
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np

from berth_trainer.data import (
    chat_format,
    control_tokens,
    dialogue_history,
    encode,
    prompts,
    samples,
    similarity,
    store,
    texts,
)
from berth_trainer.data.cache import Cache, Progress
from berth_trainer.data.dataset import PersonaDataset
from berth_trainer.data.encode import IGNORED, PARTS
from berth_trainer.data.packing import Item
from berth_trainer.data.store import Array
from berth_trainer.training.ranks import warn

_TASK = 256  # samples a process encodes before it hands them over
_FEW = 1024  # samples for which starting processes does not pay
_PROBE = 64
_VERSION = 4  # of the columns of an entry


@dataclass(frozen=True, slots=True)
class TokenDataset:
    """Memory-mapped dataset; item i equals PersonaDataset's. Lengths are known up front."""

    tokens: Array
    begins: Array
    lengths: Array
    answers: Array  # how many tokens at the end are labels
    shortened: Array | None = None  # whether parts of the prompt had to go; None: unknown
    spelled: Array | None = None  # whether a text spells a control token; None: unknown
    parts: Array | None = None  # characters of each of PARTS in all samples: kept, and whole

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, index: int) -> Item:
        begin, length = int(self.begins[index]), int(self.lengths[index])
        ids = cast("list[int]", self.tokens[begin : begin + length].tolist())
        prompt = length - int(self.answers[index])
        return {"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]}


def cached(
    dataset: PersonaDataset, cache: Cache, *, tokenizer: Any, recipe: Any, processes: int
) -> TokenDataset | PersonaDataset:
    """
    Return the dataset from the cache, encoded by `processes` processes where it is missing.

    `recipe` is what else decides how a sample is encoded. Where the tokens would not fit, the
    dataset itself comes back, which encodes each sample whenever it is asked for.
    """
    if not len(dataset):
        return dataset
    kind = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)
    path = cache.root / f"tokens-{_key(dataset, tokenizer, recipe)}"
    if not path.exists():
        needed, room = _estimate(dataset, kind), _room(cache)
        if needed > room:
            warn(
                f"the encoded samples would take {needed / 2**30:.1f} GiB and the data cache "
                f"{cache.root} has space for {room / 2**30:.1f}: they are encoded again on each access. "
                "Raise data.cache_gib, or set data.cache_folder to a larger disk."
            )
            return dataset
    folder = cache.entry(path.name, lambda into: _write(dataset, into, kind, processes))
    return TokenDataset(
        tokens=np.memmap(folder / "tokens.bin", kind, "r"),
        begins=np.load(folder / "begins.npy", mmap_mode="r"),
        lengths=np.load(folder / "lengths.npy", mmap_mode="r"),
        answers=np.load(folder / "answers.npy", mmap_mode="r"),
        shortened=np.load(folder / "shortened.npy", mmap_mode="r"),
        spelled=np.load(folder / "spelled.npy", mmap_mode="r"),
        parts=np.load(folder / "parts.npy"),
    )


def _key(dataset: PersonaDataset, tokenizer: Any, recipe: Any) -> str:
    """Return a digest of words, choice of samples, tokenizer, settings and code."""
    digest = blake2b(digest_size=16)
    key = [
        _VERSION,
        dataset.selection(),
        astuple(dataset.variant),
        recipe,
        _tokenizer_digest(tokenizer),
    ]
    digest.update(json.dumps(key, sort_keys=True).encode())
    profiles = sorted((name, list(lines)) for name, lines in dataset.profiles.items())
    digest.update(json.dumps(profiles).encode())
    modules = (prompts, chat_format, control_tokens, encode, dialogue_history, samples, similarity, store, texts)  # fmt: skip
    for module in modules:
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()


def _tokenizer_digest(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    whole = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab()))
    parts = [whole, str(tokenizer.chat_template), str(tokenizer.special_tokens_map)]
    return blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


def _estimate(dataset: PersonaDataset, kind: np.dtype[Any]) -> float:
    """Estimate the bytes of all tokens from a few samples."""
    places = range(0, len(dataset), max(1, len(dataset) // _PROBE))
    lengths = [len(dataset[place]["input_ids"]) for place in places]
    return sum(lengths) / len(lengths) * len(dataset) * kind.itemsize


def _room(cache: Cache) -> float:
    cache.root.mkdir(parents=True, exist_ok=True)
    return min(cache.limit, shutil.disk_usage(cache.root).free * 0.9)


def _write(dataset: PersonaDataset, into: Path, kind: np.dtype[Any], processes: int) -> None:
    count = len(dataset)
    begins, lengths, answers = np.zeros(count, np.int64), np.zeros(count, np.int32), np.zeros(count, np.int32)  # fmt: skip
    shortened, spelled = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    parts = np.zeros((len(PARTS), 2), np.int64)
    order = np.argsort(
        dataset.speakers(), kind="stable"
    )  # what one speaker's samples share is kept
    tasks = [order[start : start + _TASK] for start in range(0, count, _TASK)]
    progress, done, at = Progress("encoding", count), 0, 0
    with (into / "tokens.bin").open("wb") as file:
        results = _encoded_by(dataset, tasks, kind, processes if count >= _FEW else 1)
        for task, (data, sizes, labelled, cut, marked, said) in zip(tasks, results, strict=True):
            file.write(data)
            begins[task] = at + np.cumsum(sizes) - sizes
            lengths[task], answers[task] = sizes, labelled
            shortened[task], spelled[task] = cut, marked
            parts += said
            at += int(sizes.sum())
            done += len(task)
            progress.reached(done)
    columns = {
        "begins": begins,
        "lengths": lengths,
        "answers": answers,
        "shortened": shortened,
        "spelled": spelled,
        "parts": parts,
    }
    for name, values in columns.items():
        np.save(into / f"{name}.npy", values)


_Part = tuple[bytes, Array, Array, Array, Array, Array]


def _encoded_by(
    dataset: PersonaDataset, tasks: Sequence[Array], kind: np.dtype[Any], processes: int
) -> Iterator[_Part]:
    if processes <= 1:
        yield from (_encode(dataset, task, kind) for task in tasks)
        return
    # Forked: the corpus is shared as it lies, and nothing is imported again.
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, _become_encoder, (dataset, kind)) as pool:
        yield from pool.imap(_encode_task, tasks)


_work: list[Any] = []


def _become_encoder(dataset: PersonaDataset, kind: np.dtype[Any]) -> None:
    """Set up a worker process, which ends with its parent, even a killed one."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _work[:] = [dataset, kind]


def _encode_task(task: Array) -> _Part:
    dataset, kind = _work
    return _encode(dataset, task, kind)


def _encode(dataset: PersonaDataset, task: Array, kind: np.dtype[Any]) -> _Part:
    pieces: list[Array] = []
    labelled: list[int] = []
    cut: list[bool] = []
    marked: list[bool] = []
    parts = np.zeros((len(PARTS), 2), np.int64)
    for index in task.tolist():
        item = dataset.encoded(index)
        pieces.append(np.array(item.input_ids, kind))
        labelled.append(sum(1 for label in item.labels if label != IGNORED))
        cut.append(item.shortened)
        marked.append(item.spelled)
        parts += np.array(item.lengths, np.int64)
    sizes = np.array([len(piece) for piece in pieces], np.int32)
    columns = (
        sizes,
        np.array(labelled, np.int32),
        np.array(cut, np.bool_),
        np.array(marked, np.bool_),
        parts,
    )
    return np.concatenate(pieces).tobytes(), *columns
