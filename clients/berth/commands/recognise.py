"""Recognition of launchers: the launcher of a simple command, and its parts."""

from __future__ import annotations

import difflib
import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from berth.commands.call import Call, FlagReading
from berth.commands.launchers import accelerate, deepspeed, docker, registry, torchrun
from berth.commands.launchers.known import KnownLauncher, Surroundings
from berth.commands.options import Options, ParsedArgs
from berth.commands.python import BARE
from berth.commands.words import Word, expanded_path
from berth.commands.wrappers import Peeled, peel, program_name
from berth.protocol.states import Launcher

BUNDLED_SCRIPT = "train_deepspeed.py"
"""Name of the training script that ships with Berth."""

_PYTHON = re.compile(r"python(?:\d+(?:\.\d+)*)?t?")
_PYTHON_VALUED = frozenset({"-W", "-X", "--check-hash-based-pycs"})
_PYTHON_MODULE = re.compile(r"-[bBdEhiIOPqsSuvx]*m")
_SHELLS = frozenset({"bash", "sh", "zsh", "dash", "ksh"})
_DEEPSPEED = frozenset({"deepspeed", "deepspeed.pt", "ds"})
_SHARED_BIN = re.compile(r"(?:/usr|/usr/local|.*/\.local)/bin")
_ELSEWHERE = {
    "sudo": "`sudo` drops the variables that keep a job to its GPUs; leave it out.",
    "srun": "`srun` asks Slurm for GPUs; leave it out, because Berth starts the job itself.",
    "sbatch": "`sbatch` hands the job to Slurm; submit the script itself to Berth.",
    "module": "`module` loads software only where this box has environment modules and the script "
    "starts them (source /etc/profile.d/modules.sh); else give --python or activate the "
    "environment.",
    "tmux": "Leave `tmux` out: Berth keeps the job running when you log out.",
    "screen": "Leave `screen` out: Berth keeps the job running when you log out.",
    "ssh": "`ssh` runs it on another machine, where Berth chooses no GPUs; leave it out, or submit it "
    "to the Berth of that machine.",
    "watch": "`watch` never ends, and the job keeps its GPUs until then; `berth top` and `berth gpus` "
    "show the box.",
}
_TAIL = (
    "`tail -f` never ends, and the job keeps its GPUs until then; leave it out, `berth logs -f` "
    "follows the output."
)
_MODULES: dict[str, Launcher] = {
    "torch.distributed.run": Launcher.TORCHRUN,
    "torch.distributed.launch": Launcher.TORCHRUN,
    "accelerate.commands.launch": Launcher.ACCELERATE,
    "deepspeed": Launcher.DEEPSPEED,
    "deepspeed.launcher.runner": Launcher.DEEPSPEED,
    "deepspeed.launcher.launch": Launcher.DEEPSPEED,
}
_NEEDS_LAUNCH = frozenset({"accelerate", "accelerate.commands.accelerate_cli"})


@dataclass(frozen=True)
class Recognised:
    """A call with the warnings about its program."""

    call: Call
    warnings: tuple[str, ...] = ()


def recognise(words: Sequence[Word], *, activated: bool = False) -> Recognised:
    """
    Read one simple command.

    `activated` says that a shell chose the environment before (conda activate, source), so
    the interpreter is the shell's. Anything that is no known launcher is `other`.
    """
    peeled = peel(words)
    if not peeled.rest:
        return Recognised(_other(peeled))
    inner = "python" if activated or peeled.managed else None
    path = expanded_path(peeled.rest[0])
    program, rest = path or peeled.rest[0], peeled.rest[1:]
    name = program_name(program)
    call = None
    if not program.literal and path is None:
        call = None
    elif _PYTHON.fullmatch(name):
        interpreter = inner if program.text in BARE else program.text
        call = _python(peeled, program, rest, interpreter)
    elif name in _SHELLS:
        call = Call(
            launcher=Launcher.SHELL,
            assignments=tuple(peeled.assignments),
            wrapper=tuple(peeled.wrapper),
            program=(program,),
            parsed=ParsedArgs((), None, tuple(rest)),
        )
    else:
        call = _launcher(peeled, (program,), rest, inner or _sibling(program.text))
    if call is None:
        return Recognised(_other(peeled), _about(name, rest) if program.literal else ())
    return Recognised(replace(call, nohup=peeled.nohup))


def read_flags(call: Call, around: Surroundings) -> FlagReading:
    """Read the launcher's own flags. Raises CommandError for a call that cannot run here."""
    known = registry.KNOWN.get(call.launcher)
    return known.read(call, around) if known else FlagReading()


def _other(peeled: Peeled) -> Call:
    return Call(
        launcher=Launcher.OTHER,
        assignments=tuple(peeled.assignments),
        wrapper=tuple(peeled.wrapper),
        program=tuple(peeled.rest),
        nohup=peeled.nohup,
    )


def _launcher(
    peeled: Peeled,
    program: tuple[Word, ...],
    rest: list[Word],
    interpreter: str | None,
    options: tuple[Word, ...] = (),
) -> Call | None:
    """Read a call by the launcher's own program, wherever it lies."""
    name = program_name(program[-1])
    if name in _DEEPSPEED:
        launcher, table = Launcher.DEEPSPEED, deepspeed.OPTIONS
    elif name == "torchrun":
        launcher, table = Launcher.TORCHRUN, torchrun.OPTIONS
    elif name == "accelerate-launch" or (name == "accelerate" and _says_launch(rest)):
        launcher, table = Launcher.ACCELERATE, accelerate.OPTIONS
        if name == "accelerate":
            program, rest = (*program, rest[0]), rest[1:]
    else:
        known = registry.by_program(name, rest)
        return None if known is None else _known(peeled, program, rest, known)
    return Call(
        launcher=launcher,
        assignments=tuple(peeled.assignments),
        wrapper=tuple(peeled.wrapper),
        program=program,
        interpreter=interpreter,
        interpreter_options=options,
        parsed=table.parse(rest),
    )


def _known(
    peeled: Peeled, program: tuple[Word, ...], rest: list[Word], known: KnownLauncher
) -> Call:
    """Read a call of a launcher of the table: its verb is a part of the program."""
    if registry.takes_verb(known, rest):
        program, rest = (*program, rest[0]), rest[1:]
    return Call(
        launcher=known.launcher,
        assignments=tuple(peeled.assignments),
        wrapper=tuple(peeled.wrapper),
        program=program,
        parsed=ParsedArgs((), None, tuple(rest))
        if known.options is None
        else known.options.parse(rest),
    )


def _python(
    peeled: Peeled, program: Word, rest: list[Word], interpreter: str | None
) -> Call | None:
    options: list[Word] = []
    while rest and rest[0].startswith("-") and rest[0].text not in {"-", "-c"}:
        if _PYTHON_MODULE.fullmatch(rest[0].text) and len(rest) > 1:
            call = _module(peeled, program, options, rest, interpreter)
            if call:
                return call
            break
        options.append(rest[0])
        valued = rest[0].text in _PYTHON_VALUED and len(rest) > 1
        if valued:
            options.append(rest[1])
        rest = rest[2 if valued else 1 :]
    if rest and rest[0].literal and not rest[0].startswith("-"):
        call = _launcher(peeled, (program, rest[0]), rest[1:], interpreter, tuple(options))
        if call:
            return call
    flagged = bool(rest) and rest[0].startswith("-")
    return Call(
        launcher=Launcher.PYTHON,
        assignments=tuple(peeled.assignments),
        wrapper=tuple(peeled.wrapper),
        program=(program,),
        interpreter=interpreter,
        interpreter_options=tuple(options),
        parsed=ParsedArgs((), None, tuple(rest)) if flagged else _script(rest),
    )


def _script(rest: list[Word]) -> ParsedArgs:
    return ParsedArgs((), rest[0] if rest else None, tuple(rest[1:]))


def _module(
    peeled: Peeled,
    program: Word,
    options: list[Word],
    rest: list[Word],
    interpreter: str | None,
) -> Call | None:
    """Read `python -m …` when the module is a launcher."""
    module, arguments = rest[1].text, rest[2:]
    named = (program, *options, rest[0], rest[1])
    if module in _NEEDS_LAUNCH and _says_launch(arguments):
        named, arguments = (*named, arguments[0]), arguments[1:]
        launcher = Launcher.ACCELERATE
    elif module in _MODULES:
        launcher = _MODULES[module]
    else:
        known = registry.by_module(module, arguments)
        if known is None:
            return None
        call = _known(peeled, named, arguments, known)
        options = [*options, *_switches(rest[0])]
        return replace(
            call, interpreter=interpreter, interpreter_options=tuple(options), module=module
        )
    return Call(
        launcher=launcher,
        assignments=tuple(peeled.assignments),
        wrapper=tuple(peeled.wrapper),
        program=named,
        interpreter=interpreter,
        interpreter_options=(*options, *_switches(rest[0])),
        module=module,
        parsed=_table(launcher, module).parse(arguments),
    )


def _switches(option: Word) -> list[Word]:
    """The letters before the m of `-Om`; -u is set by launchers that need it."""
    letters = "".join(each for each in option.text[1:-1] if each != "u")
    return [Word(f"-{letters}", f"-{letters}")] if letters else []


def _table(launcher: Launcher, module: str) -> Options:
    if launcher is Launcher.TORCHRUN:
        return torchrun.OPTIONS
    if launcher is Launcher.ACCELERATE:
        return accelerate.OPTIONS
    return deepspeed.LAUNCH_OPTIONS if module == "deepspeed.launcher.launch" else deepspeed.OPTIONS


def _says_launch(rest: Sequence[Word]) -> bool:
    return bool(rest) and rest[0].text == "launch"


def _sibling(path: str) -> str | None:
    """The interpreter beside a launcher that was named by its path, /env/bin/deepspeed."""
    folder = os.path.dirname(path)  # noqa: PTH120 - text, not a file of this machine
    if not folder or not folder.endswith("/bin") or _SHARED_BIN.fullmatch(folder):
        return None
    return f"{folder}/python"


def _about(name: str, rest: Sequence[Word]) -> tuple[str, ...]:
    docker.refuse(name, rest)
    if name == "tail" and any(each.text in {"-f", "-F", "--follow"} for each in rest):
        return (_TAIL,)
    if name in _ELSEWHERE:
        return (_ELSEWHERE[name],)
    if name == "accelerate" and rest:
        near = difflib.get_close_matches(rest[0].text[:30], ["launch"], cutoff=0.7)
        return (f"`accelerate {rest[0].text}` is unknown; did you mean `launch`?",) if near else ()
    known = ["deepspeed", "accelerate", "torchrun", "python"]
    near = difflib.get_close_matches(name[:30].lower(), known, n=1, cutoff=0.8)
    return (f"There is no launcher `{name}`; did you mean `{near[0]}`?",) if near else ()
