"""Rank of a driven launcher: writes its variables into OUT, and fails where it is told to."""

import json
import os
import sys
from pathlib import Path

NAMES = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
rank = os.environ.get("LOCAL_RANK") or os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK") or "0"
rank = os.environ.get("MPI_LOCALRANKID") or os.environ.get("PMI_RANK") or rank
seen = {name: os.environ.get(name) for name in NAMES}
Path(os.environ["OUT"], rank).write_text(json.dumps({"argv": sys.argv[1:], **seen}))
if os.environ.get("FAIL") == rank:
    sys.exit(7)
