"""How much a tracking server that accepts and never answers slows a training: a ratio, one run.

In a project that is built (preset tiny will do): python benchmarks/silent_server.py [REPEATS]
"""

import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "dvc", "repro", "--single-item", "--force", "pretrain"]


def seconds(**settings: str) -> float:
    """Wall time of one training."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    began = time.perf_counter()
    subprocess.run(
        COMMAND, env=os.environ | {"PATH": path} | settings, check=True, capture_output=True
    )
    return time.perf_counter() - began


def main(repeats: int) -> None:
    """Alternate the two, so that both see the same load."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        silent = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.getsockname()[1]}"}
        without, beside = [], []
        for _ in range(repeats):
            without.append(seconds(MINIGPT_TRACKER="none"))
            beside.append(seconds(**silent))
    one, other = statistics.median(without), statistics.median(beside)
    print(f"without a tracker {one:.2f} s · silent server {other:.2f} s · ratio {other / one:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
