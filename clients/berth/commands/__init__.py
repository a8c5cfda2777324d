"""
Reading and rewriting of command lines: pure functions, one file per launcher.

`read` says what a command is and how many GPUs it asks for; `rewrite` makes it safe for the
GPUs and the port it was given, and lists every change. Nothing here opens a file, starts a
process or looks at the environment.
"""

from berth.commands.accelerate import NEUTRAL_ACCELERATE_CONFIG
from berth.commands.describing import describe
from berth.commands.model import CommandError, CommandView, LeaseFacts, Rewritten, Runtime
from berth.commands.reading import read
from berth.commands.rewriting import rewrite

__all__ = [
    "NEUTRAL_ACCELERATE_CONFIG",
    "CommandError",
    "CommandView",
    "LeaseFacts",
    "Rewritten",
    "Runtime",
    "describe",
    "read",
    "rewrite",
]
