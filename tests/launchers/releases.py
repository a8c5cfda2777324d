"""
Check of the launchers' recorded facts against their releases: `make launchers`, outside CI.

Downloads each package by itself and looks, without installing it, for the lines of its source on
which `docs/launchers.md` and `berth.commands.launchers` rest. A release that changed one is named.
With `--newest` the newest release is taken instead of the recorded one; names choose some.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

FACTS: dict[str, dict[str, tuple[str, ...]]] = {
    "llamafactory==0.9.5": {
        "llamafactory/launcher.py": (
            'os.getenv("NPROC_PER_NODE"',
            'os.getenv("MASTER_PORT"',
            '"FORCE_TORCHRUN"',
            "not use_ray()",
            ".split(),",
        ),
        "llamafactory/train/tuner.py": ("num_workers = ray_args.ray_num_workers",),
    },
    "axolotl==0.19.0": {
        "axolotl/cli/utils/train.py": (
            '["accelerate", "launch"] + all_launcher_args',
            '["torchrun"] + launcher_args',
            'kwargs.pop("num_processes")',
            "execvpe",
        ),
    },
    "torchtune==0.6.1": {
        "torchtune/_cli/run.py": (
            "if not args.rdzv_endpoint:",
            "args.standalone = True",
            "get_torchrun_args_parser",
        ),
    },
    "trl==1.16.0": {
        "trl/cli/commands/training.py": (
            "config_remaining + cli_remaining",
            "resolve_accelerate_config_argument",
        ),
        "trl/scripts/vllm_serve.py": (
            "script_args.tensor_parallel_size",
            "script_args.data_parallel_size",
        ),
    },
    "lightning==2.6.6": {
        "lightning/fabric/cli.py": (
            "default=29400",
            'default="1"',
            "--master_port={args.main_port}",
        ),
    },
    "mosaicml==0.32.1": {
        "composer/cli/launcher.py": (
            "'--nproc'",
            "'LOCAL_WORLD_SIZE' in os.environ",
            "'MASTER_PORT' in os.environ",
            "os.path.expandvars(os.path.expanduser(arg))",
            "return process.returncode",
        ),
    },
    "ms-swift==4.6.0": {
        "swift/cli/main.py": (
            "os.getenv('NPROC_PER_NODE')",
            "config.pop('ENV', None)",
            "if k not in os.environ:",
            "method_name not in {'pt', 'sft', 'rlhf', 'infer'}",
        ),
    },
    "colossalai==0.5.0": {
        "colossalai/cli/launcher/run.py": (
            '"torchrun",',
            "--nproc_per_node did not receive any value",
            'cmd = " ".join(cmd)',
            "sys.exit(1)",
        ),
        "colossalai/cli/launcher/__init__.py": ("default=29500",),
    },
    "ultralytics==8.4.190": {
        "ultralytics/engine/trainer.py": (
            'world_size = len(self.args.device.split(","))',
            "subprocess.run(cmd, check=True)",
        ),
        "ultralytics/utils/dist.py": ("port = find_free_network_port()",),
        "ultralytics/utils/torch_utils.py": ("never modifies CUDA_VISIBLE_DEVICES",),
    },
    "horovod==0.28.1": {
        "horovod/runner/launch.py": (
            "'-np', '--num-proc'",
            "required=not lsf.LSFUtils.using_lsf()",
        ),
    },
    "nanotron==0.4": {
        "nanotron/config/parallelism_config.py": ("    dp: int", "    pp: int", "    tp: int"),
    },
    "megatron-core==0.16.1": {
        "megatron/core/parallel_state.py": ("if world_size % model_size != 0:",),
    },
    "ray==2.60.0": {"ray/scripts/scripts.py": ('"--num-gpus"', '"--block"', '"--port"')},
    "sglang==0.5.23": {
        "sglang/srt/runtime_context.py": ("return cfg.dp_size * cfg.attn_dp_size",),
        "sglang/srt/server_args.py": ('new_flag="--attn-dp-size <dp-size>"',),
    },
    "vllm==0.33.0": {
        "vllm/engine/arg_utils.py": (
            '"--tensor-parallel-size", "-tp"',
            '"--data-parallel-size", "-dp"',
            '"-pp",',
            '"-pcp",',
            '"-dpl",',
        ),
        "vllm/config/parallel.py": ("* self.prefill_context_parallel_size",),
    },
}
"""Release, its files, and what has to stand in each."""


def source(requirement: str, files: list[str], folder: Path) -> dict[str, str] | None:
    """The text of a release's files; None where it cannot be downloaded."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    options = ["--no-build-isolation", "--dest", str(folder)]
    if subprocess.run([*pip, *options, requirement], capture_output=True, check=False).returncode:
        return None
    [archive] = folder.iterdir()
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            names = set(wheel.namelist())
            return {file: wheel.read(file).decode() for file in files if file in names}
    with tarfile.open(archive) as packed:
        top = packed.getnames()[0].partition("/")[0]
        found: dict[str, str] = {}
        for member in packed:
            file = member.name.removeprefix(f"{top}/")
            if file in files and (stream := packed.extractfile(member)):
                found[file] = stream.read().decode()
        return found


def check(requirement: str, facts: dict[str, tuple[str, ...]]) -> list[str]:
    """Download one package and return what is not as recorded."""
    with tempfile.TemporaryDirectory() as folder:
        texts = source(requirement, [*facts], Path(folder))
    if texts is None:
        return [f"{requirement} cannot be downloaded"]
    return [
        f"{requirement}: {file} has no {line!r} any more"
        for file, lines in facts.items()
        for line in lines
        if line not in texts.get(file, "")
    ]


def main() -> int:
    """Check every recorded fact; 1 when one has changed."""
    newest = "--newest" in sys.argv[1:]
    chosen = {word for word in sys.argv[1:] if word != "--newest"}
    changed: list[str] = []
    for requirement, facts in FACTS.items():
        name = requirement.partition("==")[0]
        if chosen and name not in chosen:
            continue
        found = check(name if newest else requirement, facts)
        print(
            f"{name if newest else requirement}: {'CHANGED' if found else 'as recorded'}",
            flush=True,
        )
        changed += found
    print("\n".join(changed))
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
