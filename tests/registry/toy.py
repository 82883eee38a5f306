"""A project of one stage that DVC builds in a second: what a verification rebuilds in tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from minigpt.registry.register import register

BUILD = """
import os, pathlib, shutil, sys
for name in sys.argv[1:]:
    source, target = pathlib.Path("inputs", name), pathlib.Path(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
if os.environ.get("TWIST"):
    path = pathlib.Path("models/finetuned/model.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
print("build: copied", file=sys.stderr, flush=True)
"""


def make_toy(checkout, root: Path):
    """A copy of the built `checkout` at `root`, its outputs made by `dvc repro`, registered."""
    listed = json.loads((checkout.root / "release" / "files.json").read_text())["files"]
    made = {"/".join(entry["path"].split("/")[:2]) for entry in listed} | {"models/tokenizer"}
    metrics = sorted(name for name in made if name.startswith(("metrics/", "results/")))
    outs = [*sorted(made - {*metrics}), "release/manifest.json", "release/files.json"]
    shutil.copytree(checkout.root, root, ignore=shutil.ignore_patterns(".git", "mlruns"))
    for name in [*outs, *metrics]:
        source, target = root / name, root / "inputs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    (root / "stages" / "build.py").write_text(BUILD)
    stage = {
        "cmd": f"python -m stages.build {' '.join([*outs, *metrics])}",
        "deps": ["inputs", "stages"],
        "outs": outs,
        "metrics": [{name: {"cache": False}} for name in metrics],
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"build": stage}}))
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    ignored = ("/mlruns", "/mlflow.db*", "/.work", "__pycache__", *(f"/{out}" for out in outs))
    (root / ".gitignore").write_text("\n".join(ignored) + "\n")
    (root / "dvc.lock").unlink()
    toy = type(checkout)(root)
    toy.git("init", "-q")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    site = {"DVC_SITE_CACHE_DIR": str(root.parent / "site"), "PATH": path}
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "-q"],
        cwd=root, env=os.environ | site, check=True, capture_output=True,
    )  # fmt: skip
    toy.git("add", "-A")
    toy.git("commit", "-q", "-m", "built")
    register(toy.registry)
    return toy
