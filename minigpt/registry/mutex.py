"""One change of a registered name at a time, on any store: a lease, renewed while it is held.

MLflow sets aliases without comparing: of two promotions at once both would report success. All that
it has to offer is registered models, which each client sees as soon as one has made them. So who
wants to change a name enters itself as a model of a name that is never given twice, then looks for
others. Who sees none that lives holds the lease. Of two at once, at least one sees the other, and
goes away to try again. An entry lives as long as its holder renews it: who has watched it for
LEASE_SECONDS by its own clock and saw no renewal counts it as dead; clocks of two machines are
never compared (docs/decisions/0026).
"""

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Mapping
from uuid import uuid4

from minigpt.errors import RegistryError
from minigpt.log import every, say
from minigpt.registry.config import LEASES
from minigpt.registry.registry import Registry
from minigpt.tracking.owner import has_died, this_process
from minigpt.tracking.paging import every_page
from minigpt.tracking.store import refuse_unwritable
from minigpt.tracking.store_errors import clear_errors, mlflow_errors, store_errors

PREFIX = LEASES  # of the registered models that are entries
RENEWED = "renewed"  # tag: how often

LEASE_SECONDS = 60.0
RENEW_SECONDS = 10.0
LOOK_SECONDS = 0.5
SAY_SECONDS = 60.0

clock = time.monotonic
pause = time.sleep


class Lease:
    """Held by this process, until another one had reason to count it as dead."""

    def __init__(self, registry: Registry, name: str) -> None:
        """Nothing is entered yet."""
        self._registry, self._name = registry, name
        self.entry = f"{_prefix(name)}{uuid4().hex}"
        self._released = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name=self.entry, daemon=True)

    def refuse_lost(self) -> None:
        """Call it before a change that must not be made by two: this process may have slept.

        Raises:
            RegistryError: the lease was taken over, or the store cannot be read.
        """
        if self.entry not in _entries(self._registry, self._name):
            raise RegistryError(
                f"{self._name}: this process did not renew its lease for {LEASE_SECONDS:.0f} s "
                "(was it stopped, or the store away?), so another one may be changing that name. "
                "Nothing more was changed; try again"
            )

    def take(self, dead: Mapping[str, str]) -> bool:
        """Enter, unless another one lives; `dead` are the entries that do not, as last renewed."""
        alone = False
        try:
            with clear_errors(self._registry.store.uri):
                self._registry.store.client.create_registered_model(
                    self.entry, tags=this_process() | {RENEWED: "0"}
                )
            others = _entries(self._registry, self._name)
            others.pop(self.entry, None)
            alone = all(dead.get(o) == tags.get(RENEWED, "") for o, tags in others.items())
        finally:
            if not alone:
                self._remove(self.entry)
        if not alone:
            return False
        self._renewal.start()
        try:
            for other in others:
                self._remove(other)
        except BaseException:  # Ctrl-C too: others must not wait for an entry nobody renews
            self.release()
            raise
        return True

    def release(self) -> None:
        """Let others in."""
        self._released.set()
        self._renewal.join()
        self._remove(self.entry)

    def _renew(self) -> None:
        number = 0
        while not self._released.wait(RENEW_SECONDS):
            number += 1
            with contextlib.suppress(*store_errors()):  # the next one may reach it
                self._registry.store.client.set_registered_model_tag(
                    self.entry, RENEWED, str(number)
                )

    def _remove(self, entry: str) -> None:
        with clear_errors(self._registry.store.uri):
            try:
                self._registry.store.client.delete_registered_model(entry)
            except mlflow_errors() as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise


class Watch:
    """What a waiting process has seen of others' entries, by its own clock."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}
        """Entry -> how often it was renewed, and when that was first seen."""

    def dead(self, entries: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Those whose process is gone, or that were not renewed for a lease, as last renewed."""
        now, dead = clock(), {}
        for entry, tags in entries.items():
            renewed = tags.get(RENEWED, "")
            if entry not in self._seen or self._seen[entry][0] != renewed:
                self._seen[entry] = renewed, now
            if has_died(tags) or now - self._seen[entry][1] >= LEASE_SECONDS:
                dead[entry] = renewed
        return dead


@contextlib.contextmanager
def only_changer(registry: Registry, name: str) -> Iterator[Lease]:
    """Hold the lease of `name` for the block; while another process renews it, wait and say so.

    Raises:
        RegistryError: the store cannot be written.
    """
    refuse_unwritable(registry.store)
    watch, tell = Watch(), every(SAY_SECONDS, say)
    while True:
        lease = Lease(registry, name)  # a name that was taken back would look as old as it is
        entries = _entries(registry, name)
        dead = watch.dead(entries)
        living = [tags for entry, tags in entries.items() if entry not in dead]
        if not living and lease.take(dead):
            break
        if living:
            tell(f"waiting: {name} is being changed by {_holder(living[0])}")
        pause(LOOK_SECONDS * random.uniform(0.5, 1.5))  # else two would meet again and again
    try:
        yield lease
    finally:
        lease.release()


def _holder(tags: Mapping[str, str]) -> str:
    pid, host, since = (tags.get(key, "?") for key in ("pid", "host", "since"))
    return f"process {pid} on {host}, since {since}"


def _prefix(name: str) -> str:
    return f"{PREFIX}{name}.champion."


def _entries(registry: Registry, name: str) -> dict[str, Mapping[str, str]]:
    """The entries for `name` and their tags."""
    prefix = _prefix(name)
    with clear_errors(registry.store.uri):
        models = every_page(
            registry.store.client.search_registered_models, f"name LIKE '{prefix}%'"
        )
        # `_` stands for any letter, and "lock.a.champion." begins those of a name "a.champion" too.
        return {
            model.name: dict(model.tags)
            for model in models
            if model.name.startswith(prefix) and "." not in model.name.removeprefix(prefix)
        }
