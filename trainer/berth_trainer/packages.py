"""Packages of the `trainer` extra, without which no run can be made."""

from importlib import metadata
from importlib.util import find_spec

_NEEDED = ("numpy", "torch", "transformers")


def require(program: str) -> None:
    """Leave with one sentence that names the fix where a package of the trainer is missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if not missing:
        return
    verb = "is" if len(missing) == 1 else "are"
    raise SystemExit(
        f"{program} needs the trainer's packages, of which {' and '.join(missing)} {verb} not "
        f"installed here; `pip install {' '.join(_wanted() or missing)}` adds them."
    )


def _wanted() -> list[str]:
    """Return the requirements of the extra, quoted, as the installed package states them."""
    try:
        lines = metadata.requires("gpuberth") or []
    except metadata.PackageNotFoundError:
        return []
    pairs = [line.partition(";") for line in lines]
    return [f"'{name.strip()}'" for name, _, marker in pairs if "trainer" in marker]
