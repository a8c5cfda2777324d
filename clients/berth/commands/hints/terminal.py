"""Signs that a command waits for somebody at a terminal, which a job does not have."""

from __future__ import annotations

from berth.commands.call import Call
from berth.protocol.states import Launcher

_SHELLS = frozenset({"bash", "sh", "zsh", "fish", "dash", "ksh", "csh", "tcsh"})
_PROMPTS = frozenset({"python", "python3", "ipython", "ipython3", "node", "R", "julia"})
_SCREENS = frozenset(
    {"tmux", "screen", "top", "htop", "btop", "nvtop", "nvitop", "vim", "vi", "nano", "emacs"}
    | {"less", "more", "gdb", "ipdb", "pdb"}
)
_MODULES = frozenset({"pdb", "ipdb", "IPython", "code"})
_QUIET = frozenset({"-i", "-u", "-q", "-B", "-s", "-E"})
"""Options of an interpreter that leave it at its prompt."""


def note(call: Call) -> str | None:
    """Return the note for a program that ends at once without a terminal; None for others."""
    plain = call.launcher in {Launcher.PYTHON, Launcher.SHELL, Launcher.OTHER}
    if not plain or not call.program or "<" in call.redirects:
        return None
    words = [each.text for each in (*call.program[1:], *call.interpreter_options)]
    if call.parsed.script is not None:
        words.append(call.parsed.script.text)
    words += [each.text for each in call.parsed.arguments]
    if not _waits(call.program[0].text.rpartition("/")[2], words, runs=call.runs_module):
        return None
    said = " ".join([call.program[0].text, *words[:2]])
    return (
        f"`{said}` waits for somebody at a terminal, and a job has none: its input is empty, so it "
        "ends at once. Give it a script or a command to run, or a terminal with `berth shell`."
    )


def _waits(name: str, words: list[str], *, runs: bool) -> bool:
    options = [word for word in words if word.startswith("-")]
    operands = [word for word in words if not word.startswith("-")]
    if "-m" in words and _MODULES & set(words[words.index("-m") :][:2]):
        return True
    if name in _SHELLS:
        short = "".join(option for option in options if not option.startswith("--"))
        return "c" not in short and ("i" in short or not operands) and "--version" not in options
    if name in _SCREENS:
        # In batch mode, or detached, they do without.
        return not any(option.startswith(("-b", "--batch", "-d", "-v")) for option in options)
    at_prompt = name in _PROMPTS or name.startswith("python3.")
    return at_prompt and not runs and not operands and _QUIET.issuperset(options)
