"""
Benchmark of reading, splitting and encoding a large corpus: seconds, bytes, peak memory.

    python benchmarks/trainer/data.py --out FOLDER [--dialogues 100000] [--encode 8000]

The corpus is generated in the digital-twin format: 30 turns of some 23 characters, drawn from
syllables, 50 dialogues a person. Encoding is measured on `--encode` samples spread over the corpus
and reported per sample; the tokenizer is the demo model's, whose 1,024 entries make more tokens of a
text than a large one does. Everything runs in one process of its own, so that its peak memory is
that of the step.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import time
from pathlib import Path
from typing import Any

SYLLABLES = [chr(0x4E00 + 7 * n) + chr(0x4E00 + 11 * n + 3) for n in range(900)]
TURNS, CHARACTERS, PER_PERSON = 30, 23, 50


def generate(path: Path, dialogues: int) -> None:
    """Write the corpus person by person; each has favourite words, so that relevance finds some."""
    draw = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for person in range(dialogues // PER_PERSON):
            own = draw.sample(SYLLABLES, 200)

            def text(words: list[str] = own) -> str:
                return "".join(draw.choices(words, k=CHARACTERS // 2 + draw.randrange(3)))

            data = []
            for _ in range(PER_PERSON):
                turns = [text() for _ in range(TURNS)]
                context = [
                    {"source": "partner" if n % 2 == 0 else "user", "content": turn}
                    for n, turn in enumerate(turns[:-1])
                ]
                data.append({"context": context, "continuation": turns[-1]})
            item = {
                "user_hash": f"p{person}",
                "user": {"profile": {"name": f"n{person}", "a": text(), "b": text()}},
                "task": {"task_behavior_collections": [{"data": data}]},
            }
            file.write("[" if person == 0 else ",")
            json.dump(item, file, ensure_ascii=False)
        file.write("]")


def measured(step: Any, *arguments: Any) -> dict[str, Any]:
    """Run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, step, arguments))
    process.start()
    theirs.close()
    figures = ours.recv()
    process.join()
    return figures


def _run(pipe: Any, step: Any, arguments: Any) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    figures = step(*arguments)
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(used.ru_utime + used.ru_stime for used in (own, children))
    peak = max(own.ru_maxrss, children.ru_maxrss) / 1024
    pipe.send({**figures, "cpu_s": round(cpu, 1), "peak_mib": round(peak)})


def settings_of(out: Path, **history: Any) -> Any:
    from berth_trainer.config.config_file import settings_from

    return settings_from(
        {
            "model": {"path": str(out / "workspace" / "model")},
            "data": {"train_path": str(out / "corpus.json"), "cache_folder": str(out / "cache")},
            "history": history,
        },
        source=out / "config.json",
    )


def load(out: Path) -> dict[str, Any]:
    """Read (or map) the corpus, divide it, list the samples and the histories."""
    from berth_trainer.data.dialogue_history import HistoryPool
    from berth_trainer.data.load import load_material
    from berth_trainer.data.samples import make_samples

    settings = settings_of(out)
    began = time.perf_counter()
    material = load_material(settings)
    read = time.perf_counter()
    samples = make_samples(material.splits.train)
    HistoryPool(material.splits.train, settings.history, 1)
    return {
        "seconds": round(read - began, 2),
        "samples_and_history_s": round(time.perf_counter() - read, 2),
        "samples": len(samples),
    }


def encode(out: Path, strategy: str, count: int, processes: int) -> dict[str, Any]:
    """Encode `count` samples of the train split of the last people, so that whole people are hit."""
    from transformers import AutoTokenizer

    from berth_trainer.data.encode import Encoder
    from berth_trainer.data.load import load_material, make_dataset
    from berth_trainer.data.prompt_variants import BUILT_IN, DEFAULT
    from berth_trainer.data.prompts import WORDINGS
    from berth_trainer.data.tokens import cached

    settings = settings_of(out, strategy=strategy)
    material = load_material(settings)
    tokenizer = AutoTokenizer.from_pretrained(settings.model.path)
    encoder = Encoder(tokenizer, WORDINGS["zh"], 2048)
    few = material.splits.train[: -(-count * 2 // TURNS)]
    made = make_dataset(material, few, settings=settings, variant=BUILT_IN[DEFAULT],
                        encoder=encoder, limit=count)  # fmt: skip
    figures: dict[str, Any] = {"samples": len(made)}
    for name in ("encode_s", "again_s"):
        began = time.perf_counter()
        found = cached(made, material.cache, tokenizer=tokenizer, recipe=[], processes=processes)
        figures[name] = round(time.perf_counter() - began, 2)
    tokens = int(found.lengths.sum())
    figures |= {
        "tokens_a_sample": round(tokens / len(made)),
        "ms_a_sample": round(1000 * figures["encode_s"] / len(made), 2),
    }
    began = time.perf_counter()
    for index in range(len(found)):
        found[index]
    figures["read_us_a_sample"] = round(1e6 * (time.perf_counter() - began) / len(found), 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dialogues", type=int, default=100_000)
    parser.add_argument("--encode", type=int, default=8000)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    out = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "cache", ignore_errors=True)
    from berth_trainer import demo_workspace

    demo_workspace.make(out / "workspace")
    generate(out / "corpus.json", asked.dialogues)
    size = (out / "corpus.json").stat().st_size
    print(f"corpus: {asked.dialogues:,} dialogues, {size / 2**20:,.0f} MiB", flush=True)
    print("read first:", measured(load, out), flush=True)
    print("read again:", measured(load, out), flush=True)
    for strategy in ("all_previous", "relevance"):
        figures = measured(encode, out, strategy, asked.encode, asked.processes)
        print(f"{strategy}, {asked.processes} processes:", figures, flush=True)


if __name__ == "__main__":
    main()
