"""Set everything up, then do what was asked. Standard library only; `make` calls it.

    python3 bootstrap.py setup          .venv with every dependency, hash-checked
    python3 bootstrap.py run            set up, then raw text → registered model
    python3 bootstrap.py up [ARGS]      set up, then start Prefect, the schedule and MLflow's UI
    python3 bootstrap.py down           end them
    python3 bootstrap.py test [ARGS]    set up, then pytest ARGS
    python3 bootstrap.py lint           set up, then ruff, mypy and import-linter
    python3 bootstrap.py deps [ARGS]    set up, then write the stages' code deps to dvc.yaml
    python3 bootstrap.py prove [ARGS]   set up, then the slow proofs

MINIGPT_TORCH=auto|cpu|cuda chooses the torch build. auto: a wheel in a local folder named by
UV_FIND_LINKS or PIP_FIND_LINKS; else PyPI's where there is an NVIDIA driver, and on macOS and
Windows; else uv's CPU build; else PyPI's. A second call costs well under a second: see `stamp`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
LOCKS = ROOT / "requirements"
TORCH = "2.13.0"
TORCH_CHOICES = ("auto", "cpu", "cuda")
UNUSABLE = re.compile(r"\$\w+|[{};%]" if os.name == "nt" else r"\$\w+|[{}\n:%]")
"""What venv, setuptools, alembic or a script's first line cannot hold of a path."""


def ended(arguments: list[str]) -> int:
    """`main`; what the system refuses, standard output too, is one line, not a traceback."""
    try:
        code = main(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # a reader that has left (`| head`) wants no word
        code = 128 + 13
    except OSError as error:
        where, code = error.filename or "standard output", 1
        fail(f"{where}: {error.strerror}. Mend that, then run the same command.")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
    return code


def main(arguments: list[str]) -> int:
    """Run the command in `arguments`; its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a pipe on Windows has few letters
            stream.reconfigure(errors="replace")
    if sys.version_info < (3, 11):
        version = sys.version.split()[0]
        return fail(
            f"minigpt needs Python 3.11 or newer; this is {version}. Try: make PYTHON=python3.11"
        )
    if os.environ.get("MINIGPT_TORCH", "auto") not in TORCH_CHOICES:
        return fail(f"MINIGPT_TORCH={os.environ['MINIGPT_TORCH']}: expected one of {TORCH_CHOICES}")
    command, *rest = arguments or ["--help"]
    commands = {
        "setup": None, "run": module("pipelines.run"), "up": module("pipelines.up"), "down": down,
        "test": test, "lint": lint, "prove": module("pytest", "-m", "prove", "--timeout=3600"),
        "deps": module("pipelines.deps"),
    }  # fmt: skip
    if command not in commands:
        print(__doc__)
        return 0 if command in ("-h", "--help", "help") else 2
    if command == "down":
        return down(rest)
    if found := UNUSABLE.search(str(ROOT)):
        return fail(f"{ROOT}: nothing works in a path with {found[0]!r}. Rename the folder.")
    if shutil.which("git") is None:
        return fail("git is not on PATH; minigpt records the commit of every model. Install git.")
    try:
        set_up(dev=command in ("test", "lint", "prove"), quiet=command != "setup")
    except subprocess.CalledProcessError as error:
        return fail(
            f"set-up failed: {' '.join(map(str, error.cmd))[:200]}\n"
            "The message above says why. Nothing but .venv was touched; run the same command again."
        )
    except KeyboardInterrupt:
        print("\nstopped; the same command sets up the rest", file=sys.stderr)
        return 130
    action = commands[command]
    return action(rest) if action else 0


def module(name: str, *options: str) -> Callable[[list[str]], int]:
    """The command that runs a module with what else was typed."""
    return lambda rest: become([PYTHON, "-m", name, *options, *rest])


def down(rest: list[str]) -> int:
    """End what `up` started; without set-up, which may take minutes."""
    if not PYTHON.exists():
        print("nothing is up here. To start it: make up")
        return 0
    return become([PYTHON, "-m", "pipelines.up", "--down", *rest])


def test(rest: list[str]) -> int:
    """The tests that every change must pass; all of them, in two processes, or those in `rest`."""
    spread = [] if rest else ["-n", "2", "--dist", "loadscope"]
    return become([PYTHON, "-m", "pytest", "-m", "not prove", *spread, *rest])


def lint(rest: list[str]) -> int:
    """Style, types and who may import whom."""
    del rest
    checks = (
        [BIN / "ruff", "check", "."],
        [BIN / "ruff", "format", "--check", "."],
        [BIN / "mypy"],
        [BIN / "lint-imports"],
    )
    codes = [call(check) for check in checks]
    return int(any(codes))


def become(command: list[object]) -> int:
    """Go on as `command`: a signal to make, or to this process, is then one to it.

    Windows has no such thing: there it is run, and its exit code returned.
    """
    if os.name != "nt":
        words = [str(word) for word in command]
        print(end="", flush=True)
        os.chdir(ROOT)
        os.execve(words[0], words, environment())  # noqa: S606 (it never returns)
    return call(command)


def call(command: list[object]) -> int:
    """Run in the project's root; its exit code. Ctrl-C is for it to answer, in its own time."""
    process = subprocess.Popen([str(word) for word in command], cwd=ROOT, env=environment())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def environment() -> dict[str, str]:
    """This one with .venv first on PATH.

    What is imported keeps its bytecode, in .venv and beside our code: without it every process
    compiles its libraries again, half of what a short stage takes (docs/decisions/0028).
    """
    ours = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return ours | {"PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", "")])}


def set_up(*, dev: bool, quiet: bool) -> None:
    """Bring .venv up to the lock files; do nothing when its stamp says it is."""
    groups = ["base", "dev"] if dev else ["base"]
    stamp_file = VENV / "minigpt-stamp"
    done = stamp_file.read_text().split() if stamp_file.is_file() and PYTHON.exists() else []
    missing = [group for group in groups if stamp(group) not in done]
    if not missing:
        if not quiet:
            print("set-up     .venv is up to date")
        return
    start = time.monotonic()
    if stamp("place") not in done:  # scripts in .venv hold absolute paths
        why = "the folder was moved or copied: .venv is made anew" if moved() else "making .venv"
        print(f"set-up     {why} …", flush=True)  # removing one takes a while too
        shutil.rmtree(VENV, ignore_errors=True)
        done = [stamp("place")]
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    installer = Installer()
    for group in missing:
        installer.install(["--require-hashes", "-r", LOCKS / f"{group}.txt"])
        if group == "base":
            torch = install_torch(installer)
            installer.install(["--no-deps", "--no-build-isolation", "-e", "."])  # in ROOT
        else:
            torch = None
        done.append(stamp(group))
        temporary = stamp_file.with_suffix(".part")
        temporary.write_text("\n".join(done))
        temporary.replace(stamp_file)
        locked = len(re.findall(r"(?m)^\w", (LOCKS / f"{group}.txt").read_text()))
        print(
            f"set-up     .venv ready in {time.monotonic() - start:.0f} s · {group}: {locked} pins, "
            f"every one hash-checked ({installer.name})" + (f" · {torch}" if torch else ""),
            flush=True,
        )


def moved() -> bool:
    """Whether .venv was made in another folder, whose Python and code its scripts name."""
    record = VENV / "pyvenv.cfg"
    return record.is_file() and f" -m venv {VENV}\n" not in record.read_text("utf-8")


def stamp(group: str) -> str:
    """What `group` was installed from, in one word; another word means install again."""
    parts = [group, str(ROOT), sys.version, os.environ.get("MINIGPT_TORCH", "auto")]
    files = {"place": [], "base": ["base", "torch-cpu", "torch-cuda"], "dev": ["dev"]}[group]
    parts += [(LOCKS / f"{name}.txt").read_text() for name in files]
    if group == "base":
        parts.append((ROOT / "pyproject.toml").read_text().split("[tool.ruff]")[0])
    return f"{group}:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"


class Installer:
    """uv where it can be had (from PATH, else a pinned one), else pip.

    MINIGPT_INSTALLER=pip takes pip without asking for uv.
    """

    def __init__(self) -> None:
        os.environ.update(cache_settings())
        pip_only = os.environ.get("MINIGPT_INSTALLER") == "pip"
        self.uv = None if pip_only else shutil.which("uv") or self.fetch_uv()
        self.name = "uv" if self.uv else "pip"
        self.environment = os.environ | (uv_settings() if self.uv else {})

    def fetch_uv(self) -> str | None:
        """Install the pinned uv into .venv through pip; None where the index has no wheel of it."""
        pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        lock = ["--require-hashes", "--only-binary", ":all:", "-r", str(LOCKS / "uv.txt")]
        tried = subprocess.run(
            [*pip, *lock], capture_output=True, encoding="utf-8", errors="replace"
        )
        uv = BIN / ("uv.exe" if os.name == "nt" else "uv")
        return str(uv) if tried.returncode == 0 and uv.exists() else None

    def install(self, arguments: list[object], *, check: bool = True) -> bool:
        """Install; with uv failing (a proxy it cannot use, say), pip tries the same lock."""
        words = [str(argument) for argument in arguments]
        if self.uv:
            command = [self.uv, "pip", "install", "-q", "--python", str(PYTHON), *words]
            done = subprocess.run(
                command,
                env=self.environment,
                cwd=ROOT,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            )
            if done.returncode == 0:
                return True
            if "--torch-backend" in " ".join(words):
                return False
            print(f"set-up     uv failed, pip tries: {last_line(done.stderr)}", flush=True)
            self.uv, self.name = None, "pip"
        pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        return subprocess.run([*pip, *words], check=check, cwd=ROOT).returncode == 0


def cache_settings() -> dict[str, str]:
    """Caches in the project for a user without a home to write to: a container's, a service's."""
    # Path's own expanduser raises where there is no home.
    home = os.path.expanduser("~/.cache")  # noqa: PTH111
    place = Path(os.environ.get("XDG_CACHE_HOME") or home).absolute()
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return {}
    caches = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip"}
    return {k: str(ROOT / ".cache" / v) for k, v in caches.items() if k not in os.environ}


def uv_settings() -> dict[str, str]:
    """The index and certificate that the user's pip is configured with, in uv's words."""
    settings = {}
    for key, variable in (
        ("global.index-url", "UV_DEFAULT_INDEX"),
        ("global.cert", "SSL_CERT_FILE"),
    ):
        asked = subprocess.run(
            [str(PYTHON), "-m", "pip", "config", "get", key],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        if asked.returncode == 0 and asked.stdout.strip() and variable not in os.environ:
            settings[variable] = asked.stdout.strip()
    if "PIP_INDEX_URL" in os.environ and "UV_DEFAULT_INDEX" not in os.environ:
        settings["UV_DEFAULT_INDEX"] = os.environ["PIP_INDEX_URL"]
    return settings


def install_torch(installer: Installer) -> str:
    """Install the build that fits this machine; says which, and from where."""
    choice = os.environ.get("MINIGPT_TORCH", "auto")
    cpu, cuda = LOCKS / "torch-cpu.txt", LOCKS / "torch-cuda.txt"
    wheel = local_wheel()
    if choice == "auto" and wheel:
        if hashlib.sha256(wheel.read_bytes()).hexdigest() in cpu.read_text() + cuda.read_text():
            note = "a local wheel, hash-checked"
        else:
            note = "a local wheel of your own: its hash is not in our locks"
        installer.install(["--no-deps", wheel])
        return f"torch {TORCH} ({note})"
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    if choice == "cuda" or (choice == "auto" and (driver or sys.platform in ("darwin", "win32"))):
        installer.install(["--require-hashes", "-r", cuda])
        return f"torch {TORCH} (PyPI's build)"
    plain = f"torch=={TORCH}"
    if installer.uv:
        backend = ["--torch-backend=cpu", "--no-deps"]
        if installer.install([*backend, "--require-hashes", "-r", cpu]):
            return f"torch {TORCH} (CPU build, hash-checked)"
        if installer.install([*backend, plain]):
            return f"torch {TORCH} (CPU build for this Python; our lock has no hash of it)"
    print(
        "set-up     no CPU build of torch in reach: PyPI's comes with CUDA, about 3 GB", flush=True
    )
    installer.install(["--require-hashes", "-r", cuda])
    return f"torch {TORCH} (PyPI's build)"


def local_wheel() -> Path | None:
    """A wheel of our torch for this interpreter in a folder the user's pip or uv looks at."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    for variable in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        for folder in re.split(r"[\s,]+", os.environ.get(variable, "")):
            for wheel in sorted(Path(folder).glob(f"torch-{TORCH}*-{tag}-*.whl")) if folder else []:
                if (
                    os.uname().machine in wheel.name
                    if hasattr(os, "uname")
                    else "win" in wheel.name
                ):
                    return wheel
    return None


def last_line(text: str) -> str:
    """The last line of a program's talk that is not blank."""
    return next(
        (line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message"
    )


def fail(message: str) -> int:
    """Say what is wrong on stderr; exit code 2."""
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(ended(sys.argv[1:]))
