"""Take a document out: what it concerns, and the one way that forgets it, a build without it.

Nothing is changed before everything is known. Then, in an order that leaves the safe side behind
where it is cut off: params.yaml excludes the text, the versions that learned from it are marked,
the pipeline is built, and what came of it is stated. Cut off anywhere, the same again goes on.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from minigpt.errors import StageError
from minigpt.process import tied, workspace_lock
from minigpt.registry.registry import Registry
from minigpt.registry.takedown.exclude import exclude
from minigpt.registry.takedown.plan import Takedown, plan_again
from minigpt.registry.takedown.revoke import revoke
from minigpt.registry.takedown.statement import Statement, state
from minigpt.registry.versions import Version, champion_of, list_versions
from minigpt.release.manifest import manifest_digest
from minigpt.tracking.store import refuse_unwritable

MANIFEST = Path("release/manifest.json")
FLOW = "pipelines.run"


def carry_out(
    registry: Registry,
    takedown: Takedown,
    reason: str,
    wait: bool = False,
    build: Callable[[Path, bool], int] | None = None,
) -> Statement:
    """Exclude, mark, build without it, state what came of it. The same again goes on or repeats.

    A version that was registered since `plan` looked, by a run that was waited for, is found too.
    `build` brings the checkout up to date and registers it; it returns an exit code.

    Raises:
        StageError: the build failed. The text stays excluded and the versions stay marked.
        RegistryError: the store cannot be written.
        BusyError: another process works in this checkout, and `wait` is False.
    """
    root, name = registry.root, registry.name
    with workspace_lock(root, wait=wait):
        before = None
        if not registry.is_new:
            refuse_unwritable(registry.store)
            takedown = plan_again(registry, takedown)
            before = _before(registry, takedown)
        exclude(root, takedown.exclude)
        for version, holdings in takedown.trained:
            revoke(registry, version, holdings, reason, takedown.files)
        code = (build or release)(root, wait)
        if code:
            raise StageError(
                f"{name}: the build without it failed (exit {code}; its own message is above). "
                "params.yaml excludes the text, and the versions that learned from it are marked; "
                "no version has it replaced. Mend that, then run the same command"
            )
        identity = manifest_digest(root / MANIFEST)
        new = next(v for v in list_versions(registry) if v.digest == identity)
        return state(registry, new, before, takedown, reason)


def release(root: Path, wait: bool = False) -> int:
    """Run the flow that builds, registers and asks the gate; what it prints goes to stderr."""
    command = [sys.executable, "-m", FLOW, *(["--wait"] if wait else [])]
    with tied(command, root, stdout=2) as process:
        return process.wait()


def _before(registry: Registry, takedown: Takedown) -> Version | None:
    """The version to hold the new one against: champion if it learned from it, else the newest."""
    versions = [version for version, _ in takedown.trained if version.name == registry.name]
    champion = champion_of(registry)
    best = next((v for v in versions if champion and v.version == champion.version), None)
    return best or (versions[-1] if versions else None)
