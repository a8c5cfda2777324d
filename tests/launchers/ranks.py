"""Rank of a driven launcher: writes its variables into OUT; one fails, and the others wait."""

import json
import os
import sys
import time
from pathlib import Path

NAMES = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LOCAL = ("MPI_LOCALRANKID", "PMI_RANK", "LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
rank = next((os.environ[name] for name in LOCAL if os.environ.get(name)), "0")
seen = {name: os.environ.get(name) for name in NAMES}
# In the place of a package's script it runs before the interpreter has sys.argv.
argv = sys.argv if getattr(sys, "argv", [""])[0] else sys.orig_argv
Path(os.environ["OUT"], rank).write_text(json.dumps({"argv": argv, **seen}))
if os.environ.get("FAIL"):
    if os.environ["FAIL"] == rank:
        os._exit(7)
    time.sleep(100)
os._exit(0)
