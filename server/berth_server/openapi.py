"""OpenAPI document of the REST interface: `python -m berth_server.openapi > openapi.json`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from berth_server.__main__ import version
from berth_server.api.app import create_app
from berth_server.api.context import Context
from berth_server.service.state import Options, ServerState
from berth_server.settings import Settings
from berth_server.store.database import Database


def main() -> int:
    """Print the document."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        db = Database(home / "berth.db")
        server = ServerState(db, Options(home=home))
        context = Context(server=server, settings=Settings(), home=home, version=version())
        document = create_app(context).openapi()
        db.close()
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
