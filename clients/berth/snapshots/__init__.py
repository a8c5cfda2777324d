"""
Snapshots of a job's code: `capture` packs a git work tree as it is, `unpack` runs a job in it.

`member` reads one file of an archive. All are programs of the standard library alone, run as the
job's user (`python -I -S -c TEXT`): they read and write only what that user may. `unpack` is run by the job's own interpreter and
works on Python 3.8.
"""

from pathlib import Path

CAPTURE = Path(__file__).with_name("capture.py")
MEMBER = Path(__file__).with_name("member.py")
UNPACK = Path(__file__).with_name("unpack.py")
FACTS = "snapshot.json"
DIFF = "changes.diff"
TREE = "tree"
"""Members of the archive; everything of the work tree lies below the last."""
REFUSED = 3
"""Exit code of them when the sentence on stderr is for the user."""
