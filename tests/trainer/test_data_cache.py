"""Tokenised once; what is damaged is made again; no one waits for a killed process."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from berth_trainer.data import digitaltwin, tokens
from berth_trainer.data.cache import Cache
from berth_trainer.data.dataset import PersonaDataset
from berth_trainer.data.encode import IGNORED, Encoder
from berth_trainer.data.load import load_material, make_dataset
from berth_trainer.data.packing import PackedDataset, pack
from berth_trainer.data.prompt_variants import BUILT_IN, DEFAULT
from berth_trainer.data.prompts import WORDINGS
from berth_trainer.data.texts import Oddities, pieces
from berth_trainer.errors import UserError
from berth_trainer.training.session_data import log_shortened, max_label_tokens


@pytest.fixture
def make(settings_of, workspace, tokenizer, tmp_path):
    """The demo corpus from the cache under `tmp_path`: what is encoded, and what is cached."""

    def made(*, variant=DEFAULT, limit=40, length=192, processes=1, path=None, **sections):
        data = {"cache_folder": str(tmp_path / "cache"), **sections.pop("data", {})}
        settings = settings_of(
            train_path=path or workspace / "data" / "realpersonachat", data=data, **sections
        )
        material = load_material(settings)
        encoder = Encoder(tokenizer, WORDINGS["ja"], length)
        plain = make_dataset(material, material.splits.train, settings=settings,
                             variant=BUILT_IN[variant], encoder=encoder, limit=limit)  # fmt: skip
        found = tokens.cached(plain, material.cache, tokenizer=tokenizer,
                              recipe=[length], processes=processes)  # fmt: skip
        return plain, found

    return made


@pytest.fixture
def encodings(monkeypatch):
    """Number of samples encoded so far."""
    counted = []
    real = Encoder.encode

    def encode(self, parts, target):
        counted.append(1)
        return real(self, parts, target)

    monkeypatch.setattr(Encoder, "encode", encode)
    return counted


@pytest.mark.parametrize("processes", [1, 3])
def test_what_is_cached_is_what_would_be_encoded(make, monkeypatch, processes):
    """Ids and labels of every sample, however many processes worked; lengths without looking."""
    monkeypatch.setattr(tokens, "_FEW", 1)
    monkeypatch.setattr(tokens, "_TASK", 7)

    plain, found = make(processes=processes)

    assert isinstance(found, tokens.TokenDataset)
    assert [found[n] for n in range(len(found))] == [plain[n] for n in range(len(plain))]
    assert found.lengths.tolist() == [len(plain[n]["input_ids"]) for n in range(len(plain))]


@pytest.mark.parametrize(("length", "reported"), [(96, True), (4096, False)])
def test_a_start_tells_how_many_samples_are_shortened(make, capsys, monkeypatch, length, reported):
    """Counted where they are encoded, and so reported at no cost by every later start too."""
    monkeypatch.delenv("RANK", raising=False)
    make(length=length)
    plain, found = make(length=length)
    cut = sum(
        plain.encoder.encode(whole, plain.sample(n).target.text).parts != whole
        for n in range(len(plain))
        if (whole := plain.parts(n))
    )

    log_shortened(found, length)

    kept = {part: [0, 0] for part in ("profile", "history", "context")}
    for n in range(len(plain)):
        whole = plain.parts(n)
        left = plain.encoder.encode(whole, plain.sample(n).target.text).parts
        for part, sums in kept.items():
            for place, one in enumerate((left, whole)):
                texts = getattr(one, part)
                sums[place] += sum(len(t if isinstance(t, str) else t.text) for t in texts)
    lost = ", ".join(f"{1 - a / b:.0%} of the {part}" for part, (a, b) in kept.items())

    said = f"{cut} of {len(found)} training samples are longer than training.max_length {length}"
    printed = capsys.readouterr().out
    assert (cut > 0) == reported
    assert (said in printed) == reported
    assert (f"left out ({lost}, in characters of all samples)." in printed) == reported


def test_the_plan_hears_how_much_a_micro_batch_learns_at_most(make):
    """Counted from the labels: of the fullest row, or of so many samples; unknown uncached."""
    plain, found = make()
    learned = [sum(label != IGNORED for label in one["labels"]) for one in plain]
    rows = PackedDataset(found, pack(found.lengths.tolist(), 512))

    fullest = max(sum(learned[sample] for sample in row) for row in rows.rows)
    assert max_label_tokens(found, rows, 1) == fullest
    assert max_label_tokens(found, None, 3) == 3 * max(learned)
    assert max_label_tokens(plain, rows, 1) is None


def test_a_second_run_tokenises_nothing(make, encodings):
    """Not one call of the encoder, and the source is not read again."""
    make()
    before = len(encodings)
    assert before > 0

    _, found = make()
    found[0]

    assert len(encodings) == before


@pytest.mark.parametrize(
    "change",
    [
        {"variant": "profile_only"},
        {"length": 128},
        {"limit": 30},
        {"history": {"strategy": "random"}},
        {"training": {"seed": 7}},
    ],
)
def test_whatever_matters_makes_another_entry(make, encodings, change):
    """A cache that answers another question would train on the wrong thing."""
    make()
    before = len(encodings)

    plain, found = make(**change)

    assert len(encodings) > before
    assert found[0] == plain[0]


def test_other_words_make_another_entry_and_a_touched_file_does_not(make, workspace, tmp_path, encodings):  # fmt: skip
    """The entry goes by content: reading again is not encoding again."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(workspace / "data" / "realpersonachat", copy)
    make(path=copy)
    file = min((copy / "dialogues").glob("*.json"))
    os.utime(file, (1, 1))
    before = len(encodings)
    make(path=copy)
    assert len(encodings) == before

    record = json.loads(file.read_text("utf-8"))
    record["utterances"][0]["text"] = "まったく別の言葉です"
    file.write_text(json.dumps(record, ensure_ascii=False), "utf-8")
    make(path=copy)
    assert len(encodings) > before


@pytest.mark.parametrize("name", ["tokens.bin", "begins.npy", "whole.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_entry_is_made_again(make, tmp_path, name, damage):
    """A flipped bit, a cut file, a lost file: never trained on."""
    _, sound = make()
    expected = sound[3]
    (entry,) = (tmp_path / "cache").glob("tokens-*")
    path = entry / name
    raw = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(raw[:-3])
    else:
        raw[len(raw) // 2] ^= 0x40
        path.unlink()  # the sound one is still mapped
        path.write_bytes(raw)

    _, found = make()

    assert found[3] == expected


BUILDER = """
import os, signal, sys, time
from pathlib import Path
from berth_trainer.data.cache import Cache
def build(into):
    (into / "half").write_bytes(b"x")
    print("building", flush=True)
    time.sleep(600)
Cache(Path(sys.argv[1]), 1 << 30).entry("e", build)
"""


def test_a_killed_builder_leaves_no_process_waiting(tmp_path):
    """A waiter gets the lock when its holder dies, and no partial entry is used."""
    holder = subprocess.Popen(
        [sys.executable, "-c", BUILDER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "building\n"
    waiter = subprocess.Popen(
        [sys.executable, "-c", BUILDER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    holder.kill()
    holder.wait()

    assert waiter.stdout.readline() == "building\n"
    waiter.kill()
    waiter.wait()
    found = Cache(tmp_path, 1 << 30).entry("e", lambda into: (into / "a").write_bytes(b"whole"))
    assert (found / "a").read_bytes() == b"whole"
    assert not (found / "half").exists()
    assert not list(tmp_path.glob(".e.building*"))


def test_the_cache_stays_under_its_limit(tmp_path):
    """The entry unused for longest goes; the one just made stays, whatever its size."""
    cache = Cache(tmp_path, 250)

    def build(into):
        (into / "a").write_bytes(b"x" * 100)

    for name, used in (("one", 3), ("two", 1), ("three", 2)):
        entry = cache.entry(name, build)
        os.utime(entry / "whole.json", (used, used))
    cache.entry("four", build)

    assert (tmp_path / "four").exists()
    assert not (tmp_path / "two").exists()


def test_tokens_that_do_not_fit_are_encoded_when_asked_for(make, capsys, monkeypatch):
    """A sentence says so; the samples are the same."""
    monkeypatch.setattr(tokens, "_room", lambda _: 10)

    plain, found = make()

    assert isinstance(found, PersonaDataset)
    assert found[0] == plain[0]
    assert "Raise data.cache_gib" in capsys.readouterr().err


def test_no_cache_writes_nothing(settings_of, workspace, tmp_path):
    """`none` holds the corpus in memory."""
    settings = settings_of(
        train_path=workspace / "data" / "realpersonachat", data={"cache_folder": "none"}
    )

    material = load_material(settings)

    assert material.cache is None
    assert len(material.splits.train) > 0


def test_a_cache_that_cannot_be_written_is_one_sentence(settings_of, workspace, tmp_path):
    """It names the setting."""
    (tmp_path / "file").write_text("")
    settings = settings_of(
        train_path=workspace / "data" / "realpersonachat",
        data={"cache_folder": str(tmp_path / "file" / "cache")},
    )

    with pytest.raises(UserError, match=r"set data\.cache_folder"):
        load_material(settings)


def test_a_mapped_corpus_is_the_one_in_memory(settings_of, corpus_folder, tmp_path):
    """The same dialogues, splits and profiles."""
    mapped, held = (
        load_material(settings_of(train_path=corpus_folder, data={"cache_folder": str(where)}))
        for where in (tmp_path / "cache", "none")
    )

    assert list(mapped.corpus.dialogues[:50]) == list(held.corpus.dialogues[:50])
    assert mapped.splits == held.splits
    assert mapped.corpus.profiles == held.corpus.profiles
    assert isinstance(mapped.corpus.dialogues.store.buffer, np.memmap)


@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
def test_items_of_a_list_come_one_by_one(tmp_path, piece):
    """Wherever the pieces of the file end."""
    expected = [{"a": [1, {"b": "c,]"}]}, 1234, 'x"y', [], None, -5.25, "終"]
    path = tmp_path / "list.json"
    path.write_text(f" {json.dumps(expected, indent=1, ensure_ascii=False)}\n", "utf-8")

    assert list(digitaltwin.json_items(pieces(path, Oddities(), piece))) == expected


@pytest.mark.parametrize("broken", ['{"a": 1}', "[1 2]", "[1,", '[{"a": 1}', "", "[1, }"])
def test_what_is_no_list_is_refused(tmp_path, broken):
    """Not silently taken for a shorter one."""
    path = tmp_path / "list.json"
    path.write_text(broken)

    with pytest.raises(ValueError):
        list(digitaltwin.json_items(pieces(path, Oddities())))


def test_an_encoder_of_another_tokenizer_has_its_own_entry(make, tokenizer):
    """The chat template counts too: it decides the text around the parts."""
    from copy import deepcopy

    plain, _ = make()
    other = deepcopy(tokenizer)
    other.chat_template = None

    assert tokens._key(plain, tokenizer, []) != tokens._key(plain, other, [])
    assert tokens._key(plain, tokenizer, []) != tokens._key(replace(plain, profiles={}), tokenizer, [])  # fmt: skip
