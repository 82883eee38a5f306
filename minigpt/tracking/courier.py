"""Who delivers while stages work: a thread of the flow, else a process of its own.

`python -m minigpt.tracking.courier FOLDER`: a stage under plain `dvc repro` starts it, once a
workspace and store. It outlives the stage and its DVC, and ends when no journal is open and all is
delivered, or when nobody takes what is left.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from minigpt.errors import MiniGPTError
from minigpt.files import write_text
from minigpt.log import say
from minigpt.process import take_lock
from minigpt.tracking.address import of_store, store_name
from minigpt.tracking.delivery import COURIER, TROUBLE, Delivery, is_at_work, sinks_of, waiting
from minigpt.tracking.journal import PARENT_ENV, RUNS, checkout_of, journals

POLL_SECONDS = 1.5
LINGER_SECONDS = 3.0  # between two stages of one `dvc repro`
LONGEST_PAUSE_SECONDS = 30.0
TRIES = 4  # after the last stage has ended
END_SECONDS = 5.0  # without progress, at the end of a flow


class Courier:
    """Rounds of delivery until it is told that nothing more comes."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._store = folder, store_name(checkout_of(folder))
        self._delivery = Delivery(folder, sinks_of(folder), self._progressed, self._store)
        self._last_progress = time.monotonic()
        self._nothing_more = threading.Event()
        self._given_up = False
        self.trouble = ""
        """Why the last round failed."""

    def _progressed(self) -> None:
        self._last_progress = time.monotonic()

    def try_round(self) -> bool:
        """Deliver what there is. Whether it worked."""
        if not self._delivery.anything_new():  # else another process delivered what was left
            self.trouble = ""
            return True
        try:
            self._delivery.round()
        except MiniGPTError as error:
            self.trouble = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a sink's library raises ends no flow
            self.trouble = f"{type(error).__name__}: {error}"
        else:
            self.trouble = ""
        return not self.trouble

    def work(self) -> None:
        """Deliver until nothing more comes and a round after that worked."""
        pause = POLL_SECONDS
        while not self._given_up:
            last = self._nothing_more.is_set()
            worked = self.try_round()
            if worked and last:
                return
            pause = POLL_SECONDS if worked else min(2 * pause, LONGEST_PAUSE_SECONDS)
            if last:
                time.sleep(0.5)
            else:
                self._nothing_more.wait(pause)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Deliver in a thread for the length of the block; a server that is down is not waited for.

        What could not be delivered is said.
        """
        thread = threading.Thread(target=self.work, name="courier", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._nothing_more.set()
            self._progressed()
            while thread.is_alive() and time.monotonic() < self._last_progress + END_SECONDS:
                used = time.process_time()
                thread.join(0.25)
                if time.process_time() - used > 0.02:  # importing a library is slow, not stuck
                    self._progressed()
            self._given_up = True
            if thread.is_alive():
                say(left(self._folder, self._store, self.trouble))


def left(folder: Path, store: str, trouble: str) -> str:
    """What waits, why, and what delivers it."""
    events, runs = waiting(folder, store)
    why = f" ({trouble})" if trouble else ""
    return (
        f"{events} events of {runs} runs wait in {RUNS.as_posix()}{why}; "
        "`minigpt registry sync` delivers them"
    )


def start_courier(folder: Path) -> None:
    """Start the process that delivers to the store of this environment, where no flow does.

    One is enough: it ends at once where another is at work.
    """
    if os.environ.get(PARENT_ENV):
        return
    log = folder.parent / "logs" / "courier.log"
    with contextlib.suppress(OSError):  # the journal stays, and the next one takes it
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            subprocess.Popen(
                [sys.executable, "-m", "minigpt.tracking.courier", str(folder)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip


def trouble_of(folder: Path) -> str | None:
    """Why no courier delivers; None where all is well, and under a flow, which says it itself."""
    if os.environ.get(PARENT_ENV):
        return None
    with contextlib.suppress(OSError):
        path = folder / of_store(TROUBLE, store_name(checkout_of(folder)))
        return path.read_text(encoding="utf-8").strip() or None
    return None


def main(folder: Path) -> None:
    """Deliver until nothing is open and all is delivered, or nobody takes it."""
    if hasattr(os, "nice"):
        os.nice(10)
    store = store_name(checkout_of(folder))
    while (lock := only_courier(folder / of_store(COURIER, store))) is not None:
        try:
            delivered = work(folder, store)
        finally:
            os.close(lock)
        # Else one began while this process ended.
        if not delivered or waiting(folder, store) == (0, 0):
            return


def only_courier(path: Path) -> int | None:
    """The lock of a courier's whole life; None where another has it."""
    if (lock := take_lock(path)) is not None:
        return lock
    time.sleep(0.5)  # somebody may only have asked whether one is at work
    return take_lock(path)


def work(folder: Path, store: str) -> bool:
    """Rounds of delivery. Whether all was delivered."""
    courier, failures, pause = Courier(folder), 0, POLL_SECONDS
    quiet_since = time.monotonic()
    while folder.is_dir():
        worked = courier.try_round()
        failures = 0 if worked else failures + 1
        note_trouble(folder / of_store(TROUBLE, store), courier.trouble)
        if any(map(is_at_work, journals(folder, store))):
            quiet_since = time.monotonic()
        elif failures >= TRIES:
            return False
        elif worked and time.monotonic() > quiet_since + LINGER_SECONDS:
            break
        pause = POLL_SECONDS if worked else min(2 * pause, LONGEST_PAUSE_SECONDS)
        time.sleep(pause)
    return True


def note_trouble(path: Path, trouble: str) -> None:
    """Keep why a round failed, for the next stage to say."""
    with contextlib.suppress(OSError, MiniGPTError):
        if trouble:
            write_text(path, f"{trouble}\n")  # whole: a stage may be reading it
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
