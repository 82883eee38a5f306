"""The README's blocks of commands."""

import re
import socket
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = [
    [line.split("  #")[0].strip() for line in block.strip().splitlines()]
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
]


def block_with(command):
    [block] = [block for block in BLOCKS if command in block]
    return block


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
