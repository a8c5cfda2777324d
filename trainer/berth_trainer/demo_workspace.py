"""
Demo workspace: a folder in which the trainer runs without any download.

`python -m berth_trainer.demo_workspace OUT` writes a tiny random Gemma-3 model, a persona
corpus in both formats and two config files. A folder that is whole already stays as it is.
"""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.demo.dialogues import CHINESE, JAPANESE, dialogues, persona
from berth_trainer.packages import require

VERSION = 2
DONE = ".complete.json"

_SCORES = ("BigFive_Openness", "BigFive_Extraversion", "KiSS18_BasicSkill")

CONFIG = """\
{
  // A tiny random model and a digital-twin corpus of a few people, made by
  // `python -m berth_trainer.demo_workspace`. Paths start at this file's folder.
  "model": {"path": "model"},
  "data": {
%(data)s
    "max_eval_samples": 16,
  },
  "training": {
    "num_epochs": 3,
    "max_steps": 20, // what is typed after --max_steps goes first
    "batch_size": 2,
    "gradient_accumulation_steps": 1,
    "learning_rate": 4e-3,
    "warmup_steps": 2,
    "max_length": 256,
    "logging_steps": 2,
    "eval_steps": 10,
    "save_steps": 10,
    "save_total_limit": 2,
  },
  "deepspeed": {
    "stage": 3,
    "offload_optimizer": "cpu",
    "offload_param": "cpu",
  },
}
"""
_TWIN = """\
    "dataset": "digitaltwin",
    "train_path": "data/digitaltwin/train.json",
    "test_path": "data/digitaltwin/test_leaderboard.json",
    "validation_fraction": 0.1,"""
_REAL = """\
    "dataset": "realpersonachat",
    "train_path": "data/realpersonachat",
    "validation_fraction": 0.1,
    "test_fraction": 0.1,"""


def make(folder: Path) -> bool:
    """Write the workspace; False where it was there already. The same bytes on every call."""
    if _version_of(folder) == VERSION:
        return False
    require("The demo's workspace")
    # Only now: both load the trainer's packages, whose absence is told in a sentence.
    from berth_trainer.data.prompts import WORDINGS
    from berth_trainer.demo.model import save_model

    real = folder / "data" / "realpersonachat"
    twin = folder / "data" / "digitaltwin"
    texts = [*_write_realpersonachat(real), *_write_digitaltwin(twin)]
    words = [getattr(w, name) for w in WORDINGS.values()
             for name in ("instruction", "profile", "history", "context", "opening")]  # fmt: skip
    save_model(folder / "model", texts=[*texts, *words])
    twin_config = CONFIG % {"data": _TWIN}
    real_config = (CONFIG % {"data": _REAL}).replace("digital-twin corpus", "RealPersonaChat-like corpus")  # fmt: skip
    (folder / "config.json").write_text(twin_config, "utf-8")
    (folder / "config_realpersonachat.json").write_text(real_config, "utf-8")
    write_json(folder / DONE, {"version": VERSION})
    return True


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 1 or words[0].startswith("-"):
        print("usage: python -m berth_trainer.demo_workspace OUT", file=sys.stderr)
        return 2
    folder = Path(words[0])
    print(f"{'made' if make(folder) else 'already there:'} {folder}")
    return 0


def _write_realpersonachat(folder: Path) -> list[str]:
    """Both speakers carry a profile. Returns every text, for the tokenizer."""
    people: dict[str, Any] = {}
    for index in range(len(JAPANESE.people)):
        people[_name(index)] = {
            "interlocutor_id": _name(index),
            "persona": persona(JAPANESE, index),
            "personality": {
                trait: 1 + (index * 7 + place * 3) % 6 for place, trait in enumerate(_SCORES)
            },
            "demographic_information": {
                "gender": ("Female", "Male")[index % 2],
                "age": ("20-29", "30-39", "40-49", "50-59")[index % 4],
            },
            "text_chat_experience": {"frequency": "Every day"},
        }
    write_json(folder / "interlocutors.json", people)
    texts = [json.dumps(people, ensure_ascii=False)]
    begun = datetime.fromisoformat("2026-01-05T10:00:00")
    for number, (asker, teller, lines) in enumerate(
        dialogues(JAPANESE, topics=4, rounds=2, seed=1), 1
    ):
        speakers = (_name(asker), _name(teller))
        record = {
            "dialogue_id": number,
            "interlocutors": list(speakers),
            "utterances": [
                {
                    "utterance_id": place,
                    "interlocutor_id": speakers[place % 2],
                    "text": text,
                    "timestamp": (begun + timedelta(days=number, minutes=place)).isoformat(),
                }
                for place, text in enumerate(lines)
            ],
            "evaluations": [],
        }
        write_json(folder / "dialogues" / f"{number:05}.json", record)
        texts += lines
    return texts


def _write_digitaltwin(folder: Path) -> list[str]:
    """Each person's last dialogue goes to the test file. Returns every text."""
    dialogues_of: dict[int, list[list[tuple[int, str]]]] = {}
    for asker, teller, lines in dialogues(CHINESE, topics=4, rounds=2, seed=2):
        spoken = [((asker, teller)[place % 2], text) for place, text in enumerate(lines)]
        dialogues_of.setdefault(teller, []).append(spoken)  # the teller speaks last
    train = [
        _twin(person, spoken[:-1])
        for person, spoken in sorted(dialogues_of.items())
        if len(spoken) > 1
    ]
    test = [
        _twin(person, spoken[-1:])
        for person, spoken in sorted(dialogues_of.items())
        if len(spoken) > 1
    ]
    write_json(folder / "train.json", train)
    write_json(folder / "test_leaderboard.json", test)
    return [json.dumps([train, test], ensure_ascii=False)]


def _twin(person: int, spoken: list[list[tuple[int, str]]]) -> dict[str, Any]:
    slots = CHINESE.people[person]
    data = [
        {
            "context": [
                {"source": "user" if speaker == person else "partner", "content": text}
                for speaker, text in lines[:-1]
            ],
            "continuation": lines[-1][1],
        }
        for lines in spoken
    ]
    return {
        "user_hash": f"demo{person}",
        "user": {
            "profile": {"name": f"用户{person}", "城市": slots["town"], "职业": slots["job"]},
            "personality": {
                "structured": {
                    "BigFive": {
                        "explanation": "1-6",
                        "dimensions": {
                            "Openness": {"score": 1 + person % 6, "description": "好奇"}
                        },
                    }
                },
                "unstructured": "\n".join(persona(CHINESE, person)),
            },
        },
        "task": {
            "description": "demo",
            "task_behavior_collections": [{"data": data}],
        },
    }


def _name(index: int) -> str:
    return f"D{chr(ord('A') + index)}"


def _version_of(folder: Path) -> int | None:
    try:
        found: dict[str, int] = json.loads((folder / DONE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found.get("version")


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # merges are counted in one fixed order
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns that it found no GPU
    sys.exit(main())
