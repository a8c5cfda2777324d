"""
Reading of one member of an archive on stdin, `member.py NAME MOST_BYTES`, onto stdout.

The archive is its user's, who may have written anything: this runs as that user, within limits of
memory and time. Exits with 3 when there is no such member, or a longer one.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tarfile

_MEMORY_BYTES = 512 << 20
_CPU_S = 20
_REFUSED = 3


def main(name: str, most_bytes: int) -> int:
    """Write the member; the first of its name."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for member in tar:
            if member.name != name or not member.isfile():
                continue
            source = tar.extractfile(member)
            if source is None or member.size > most_bytes:
                return _REFUSED
            shutil.copyfileobj(source, sys.stdout.buffer)
            return 0
    return _REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
