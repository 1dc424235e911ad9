"""What `build` does beside calling componentize-py.

assemble.py stage PLUGIN_FOLDER STAGE
    Lays plugin and SDK side by side in a folder of their own, since componentize-py writes into those that it reads.
assemble.py describe PLUGIN_FOLDER WORLD COMPONENT
    Appends the custom section `weir:plugin`, so that an operator reads what a component is without running it."""

import json
import shutil
import sys
import tomllib
from pathlib import Path


def leb(number):
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + leb(number // 128)


def vector(content):
    return leb(len(content)) + content


def stage(plugin, folder):
    shutil.copytree(plugin, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*venv", "*.wasm"))
    for module in ("weir_plugin.py", "weir_guest.py"):
        shutil.copy(Path(__file__).with_name(module), folder)
    Path(folder, "weir_about.py").write_text(f"NAME, VERSION = {name!r}, {version!r}\n")


def describe(world, component):
    about = {"name": name, "version": version, "sdk": "weir-plugin-python 0.1.0", "contract": "0.1.0", "world": world}
    with open(component, "ab") as file:
        file.write(b"\0" + vector(vector(b"weir:plugin") + json.dumps(about).encode()))


what, plugin, *rest = sys.argv[1:]
project = tomllib.loads(Path(plugin, "pyproject.toml").read_text())["project"]
name, version = project["name"], project["version"]
stage(plugin, *rest) if what == "stage" else describe(*rest)
