"""How long a person waits for a command, beside `import torch`, in one run on one machine.

    python benchmarks/command_line.py CHECKOUT [ROUNDS]

CHECKOUT is one in which `make run` has ended with a champion, of any preset. Rounds alternate; the
medians are printed. `generate` counts up to the first word, the other commands up to their end. A
version that is not there is refused (exit code 2) before anything heavy is imported.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 5
UNKNOWN = "999999"
LIMITS = {"registry list": 0.7, "lineage champion": 1.0, "generate": 1.25, "second make run": 4.0}
REFUSED = ("lineage", "compare champion", "verify", "registry promote", "generate x -m")
"""Commands that are given an unknown version; each may take as long as `registry list`."""


def main(checkout: Path, rounds: int) -> int:
    python = checkout / ".venv" / "bin" / "python"
    own = python.exists()  # else this one's libraries, with the checkout's code
    python = python if own else Path(sys.executable)
    minigpt = [str(python), "-m", "minigpt.cli.main"]
    run = [str(python), "bootstrap.py", "run"] if own else [str(python), "-m", "pipelines.run"]
    commands = {
        "import torch": [str(python), "-c", "import torch"],
        "registry list": [*minigpt, "registry", "list"],
        "lineage champion": [*minigpt, "lineage", "champion"],
        "generate": [*minigpt, "generate", "My fellow citizens", "-m", "champion"],
        "second make run": run,
    }
    for command in REFUSED:
        commands[f"{command} {UNKNOWN}"] = [*minigpt, *command.split(), UNKNOWN]
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            took = timed(command, checkout, os.environ | {"PATH": path}, name == "generate")
            if number:  # the first round fills the page cache
                seconds[name].append(took)
    print(f"{'':<24}{'median s':>10}{'times torch':>13}{'limit':>8}")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    failed = False
    for name, median in medians.items():
        limit = LIMITS["registry list"] if name.endswith(UNKNOWN) else LIMITS.get(name)
        ratio = median / medians["import torch"]
        failed = failed or (limit is not None and ratio > limit)
        print(f"{name:<24}{median:>10.2f}{ratio:>13.2f}{'' if limit is None else limit:>8}")
    return int(failed)


def timed(command: list[str], cwd: Path, env: dict[str, str], first_word: bool) -> float:
    """Seconds until a command's first byte on stdout, or until it has ended."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read(1)
        first = time.perf_counter() - start
        said += process.stdout.read()
        code = process.wait()
        end = time.perf_counter() - start
    if code != (2 if command[-1] == UNKNOWN else 0):
        sys.exit(f"{' '.join(command)}: exit {code}\n{said.decode(errors='replace')}")
    if "run" in command[-1] and b"stages unchanged" not in said:
        sys.exit(f"something was to do in {cwd}: run this again\n{said.decode()}")
    return first if first_word else end


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not 1 <= len(arguments) <= 2:
        sys.exit(__doc__)
    sys.exit(main(Path(arguments[0]).resolve(), int((arguments[1:] or [ROUNDS])[0])))
