"""
Command lines, read and rewritten: pure functions, one file per launcher.

`read` returns a command's launcher and the GPUs that it asks for; `rewrite` confines it to its
leased GPUs and port, and lists every change. Nothing here opens a file, starts a
process or looks at the environment.
"""

from berth.commands.call import ALONE, Gang
from berth.commands.describing import describe
from berth.commands.errors import CommandError
from berth.commands.launchers.accelerate import NEUTRAL_ACCELERATE_CONFIG
from berth.commands.launchers.known import Surroundings
from berth.commands.model import CommandView, LeaseFacts, Rewritten, Runtime
from berth.commands.reading import read
from berth.commands.rewriting import rewrite

__all__ = [
    "ALONE",
    "NEUTRAL_ACCELERATE_CONFIG",
    "CommandError",
    "CommandView",
    "Gang",
    "LeaseFacts",
    "Rewritten",
    "Runtime",
    "Surroundings",
    "describe",
    "read",
    "rewrite",
]
