#!/bin/sh
# hydra-core 1.3.8 executes every module below the namespace package hydra_plugins when an app
# starts, without naming it in sys.modules meanwhile. A plug-in that is fine to import then fails
# where the standard library looks its module up: a dataclass in a module that begins with
# `from __future__ import annotations` ends every Hydra app of the environment, also those that do
# not use the plug-in, with "AttributeError: 'NoneType' object has no attribute '__dict__'" out of
# dataclasses.py. A plain `import` of the same module works. Without the __future__ line both work.
# Seen: import: ok; app: AttributeError; app without the line: ok.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install -q hydra-core==1.3.8
mkdir -p "$folder/hydra_plugins/mine"
touch "$folder/hydra_plugins/mine/__init__.py"
cat > "$folder/hydra_plugins/mine/settings.py" <<'PLUGIN'
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Settings:
    gpus: int = 1
PLUGIN
cat > "$folder/app.py" <<'APP'
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    print("the app ran")

main()
APP
cd "$folder"
export PYTHONPATH="$folder"
"$folder/env/bin/python" -c "import hydra_plugins.mine.settings; print('import: ok')"
if "$folder/env/bin/python" app.py > out.txt 2>&1; then
    echo "the app ran with the plug-in: changed"; exit 1
fi
grep -q "'NoneType' object has no attribute '__dict__'" out.txt || { cat out.txt; exit 1; }
echo "app: AttributeError in dataclasses.py"
sed -i '/__future__/d' hydra_plugins/mine/settings.py
"$folder/env/bin/python" app.py | grep "the app ran"
