"""Shell lines with which a job attacks what reads after it: each in the place of a file of its own."""

from __future__ import annotations

_FILES = (
    *("failure.json", "metrics.jsonl", "saved.json", "progress.json", "output.log", "stop.json"),
    *("exit.json", "exit.json.part", "started", "shim.json", "launch.json", "snapshot.json"),
)
_PUT = (
    "mkfifo {}",
    "ln -s /dev/zero {}",
    "ln -s /etc/passwd {}",
    "mkdir -p {}/x",
    "ln -s {} {}",
    "mknod {} c 1 5",
    "ln ../launch.json {}",
    "truncate -s 1T {}",
    "head -c 300000 /dev/urandom > {}",
    "yes '[' | head -n 60000 | tr -d '\\n' > {}",
    "yes '{{\"a\":' | head -n 60000 | tr -d '\\n' > {}",
    """printf '{{"kind":"x","sentence":"\\\\ud800"}}' > {}""",
    """printf '{{"step":%s,"loss":NaN,"total":-1e999,"grace_s":1e999}}' $(yes 9 | head -n 5000 | tr -d '\\n') > {}""",
    """printf '{{"grace_s":86400,"warn_s":86400,"exit_code":0,"attempt":"1.1"}}' > {}""",
)
_WHOLE = (
    "head -c 3000000 /dev/zero | tr '\\0' x",  # one line of the log
    "yes 1+ | head -n 900000 | tr -d '\\n'",
    """printf "{'loss': "; yes '1+' | head -n 100000 | tr -d '\\n'; printf '1}\\n'""",
    "printf '\\033]0;x\\007\\033[2J\\xff\\xfe\\x00\\xe2\\x80\\xae'",
    "rm -rf $BERTH_RUN_DIR; ln -s / $BERTH_RUN_DIR",
    "chmod 0 $BERTH_RUN_DIR",
    "for i in $(seq 300); do : > $BERTH_RUN_DIR/f$i; done",
    "exec 1>&- 2>&-",
    "trap '' TERM INT HUP USR1",
    "(setsid sleep 60 &) ; true",
    "e=$(echo env); (setsid $e -i sleep 61 > /dev/null 2>&1 < /dev/null &) ; sleep 0.2",
    "kill -STOP $PPID; (sleep 0.3; kill -CONT $PPID) &",
    "export LOCAL_RANK=$(printf '\\xc2\\xb2') CUDA_VISIBLE_DEVICES=$(printf '\\xc2\\xb2') LOCAL_WORLD_SIZE=$(yes 9 | head -n 5000 | tr -d '\\n'); sleep 0.3 &",
)


def lines() -> list[str]:
    """Return every attack, one shell line each; none is to end the job that makes it."""
    found: list[str] = []
    for name in _FILES:
        for put in _PUT:
            path = f"$BERTH_RUN_DIR/{name}"
            found.append(f"rm -rf {path}; {put.format(*[path] * 2)}")
    return [
        f"{{ {line}\n}} 2> /dev/null" if "exec 1>" not in line else line
        for line in [*found, *_WHOLE]
    ]
