"""Command-line flags of `train_deepspeed.py`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from berth_trainer.config.suggestions import did_you_mean
from berth_trainer.data import prompt_variants
from berth_trainer.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Parsed flags, checked as far as possible without the config file."""

    config: Path
    ablation_config: str
    output_dir: Path | None
    gpu_ids: tuple[int, ...] | None
    max_gpus: int | None
    max_steps: int | None
    resume: bool | None  # None: only a second or later attempt of a Berth job resumes
    checkpoint: Path | None  # resume from this very folder
    allow_changed: tuple[str, ...]  # settings that may differ from the checkpoint's
    predict: bool  # answer the test split instead of training
    predict_with: Path | None  # with this model instead of the trained one

    @property
    def asked_gpus(self) -> int | None:
        """Number of GPUs that the flags ask for; None where they name none."""
        if self.gpu_ids is not None:
            wanted = len(self.gpu_ids)
            return min(wanted, self.max_gpus) if self.max_gpus else wanted
        return self.max_gpus


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Read the flags; dashes and underscores inside a name are the same."""
    parser = _parser()
    found, unknown = parser.parse_known_args([_underscored(word) for word in argv])
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001  # argparse has no public list of its options
        raise UserError(
            f"{unknown[0]} is not a flag of the trainer"
            f"{did_you_mean(unknown[0].split('=')[0], known)}; see --help."
        )
    chosen = found.resume_from_checkpoint
    if found.no_resume and (found.resume or chosen is not None):
        raise UserError("--no_resume contradicts --resume; give one of them.")
    return Arguments(
        config=Path(found.config),
        ablation_config=found.ablation_config,
        output_dir=Path(found.output_dir) if found.output_dir else None,
        gpu_ids=_gpu_ids(found.gpu_ids),
        max_gpus=_at_least_one("--max_gpus", found.max_gpus),
        max_steps=_at_least_one("--max_steps", found.max_steps),
        resume=False if found.no_resume else True if found.resume or chosen is not None else None,
        checkpoint=Path(chosen) if chosen else None,
        allow_changed=tuple(
            name for word in found.allow_changed or () for name in word.split(",") if name
        ),
        predict=found.predict is not None,
        predict_with=Path(found.predict) if found.predict else None,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}; see --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="train_deepspeed.py",
        description="Fine-tune a causal language model on persona dialogues with DeepSpeed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="JSON, with // comments if you like")
    add(
        "--ablation_config",
        default=prompt_variants.DEFAULT,
        metavar="NAME",
        help=f"one of {', '.join(prompt_variants.BUILT_IN)}, or one of the config file's own",
    )
    add("--output_dir", metavar="FOLDER", help="default: outputs/<ablation> under this folder")
    add("--gpu_ids", metavar="0,1", help="checked against what the launcher started")
    add("--max_gpus", type=int, metavar="N", help="checked against what the launcher started")
    add("--max_steps", type=int, metavar="N", help="stop after N optimizer steps")
    add("--resume", action="store_true", help="continue from the last complete checkpoint, if any")
    add(
        "--no_resume", action="store_true", help="start from the beginning, even on a later attempt"
    )
    add(
        "--resume_from_checkpoint",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="as --resume; with a folder, from that checkpoint",
    )
    add(
        "--allow_changed",
        action="append",
        metavar="NAMES",
        help="with --resume: settings that may differ from the checkpoint's, as in ablation,data",
    )
    add(
        "--predict",
        nargs="?",
        const="",
        metavar="MODEL",
        help="answer the test split, with final_model or the model in this folder",
    )
    add("--local_rank", type=int, default=0, help="set by the deepspeed launcher")
    return parser


def _underscored(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def _gpu_ids(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise UserError(f"--gpu_ids {text} should be GPU indices joined by commas, as in 0,1,2,3.")
    numbers = tuple(int(word) for word in words)
    if len(set(numbers)) != len(numbers):
        raise UserError(f"--gpu_ids {text} names a GPU twice; name each once.")
    return numbers


def _at_least_one(flag: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UserError(f"{flag} {value} should be 1 or more.")
    return value
