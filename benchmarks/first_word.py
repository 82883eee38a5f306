"""How long the first word of `minigpt generate` takes, beside `import torch`, in one run.

    python benchmarks/first_word.py CHECKOUT [ROUNDS]

CHECKOUT is one in which `make run` has ended with a champion. Both take turns; medians are printed,
and the exit code is 1 where the first word takes longer than `import torch`. The slowest imports of
the command follow (python -X importtime), so that what made it slow has a name.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from command_line import timed

ROUNDS, LIMIT, SHOWN = 7, 1.0, 8
COMMAND = ["-m", "minigpt.cli.main", "generate", "My fellow citizens", "--max-tokens", "1"]
NEVER = ("torch", "mlflow", "pandas", "transformers")
"""What a word over onnxruntime needs nothing of."""


def main(checkout: Path, rounds: int) -> int:
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():  # this one's libraries, with the checkout's code
        python = Path(sys.executable)
    commands = {
        "import torch": [str(python), "-c", "import torch"],
        "first word": [str(python), *COMMAND],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            took = timed(command, checkout, dict(os.environ), name == "first word")
            if number:  # the first round fills the page cache
                seconds[name].append(took)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = medians["first word"] / medians["import torch"]
    for name, times in seconds.items():
        print(f"{name:<14}{medians[name]:>7.2f} s   {min(times):.2f} to {max(times):.2f}")
    print(f"{'ratio':<14}{ratio:>7.2f}     limit {LIMIT}")
    imports = imports_of([str(python), "-X", "importtime", *COMMAND], checkout)
    for module, milliseconds in imports[:SHOWN]:
        print(f"  {milliseconds:>6.0f} ms  {module}")
    heavy = sorted({name for name, _ in imports if name in NEVER})
    if heavy:
        print(f"imported, and not needed: {', '.join(heavy)}")
    return int(ratio > LIMIT or bool(heavy))


def imports_of(command: list[str], cwd: Path) -> list[tuple[str, float]]:
    """Module and milliseconds with all that it imports, slowest first."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    rows = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    times = [(name.strip(), int(us) / 1000) for _, us, name in rows if us.strip().isdecimal()]
    return sorted(times, key=lambda row: -row[1])


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not 1 <= len(arguments) <= 2:
        sys.exit(__doc__)
    sys.exit(main(Path(arguments[0]).resolve(), int((arguments[1:] or [ROUNDS])[0])))
