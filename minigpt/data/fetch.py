"""Fetching one pinned file: resumed where it was cut, checked by size and sha256 before it is used.

A partly fetched file stays in the cache as NAME.part, or under the temporary name of a process that
was killed; the next attempt, or the next command, takes it, asks for the rest and hashes the whole.
"""

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from minigpt.data.pin import Pin
from minigpt.digest import file_digest
from minigpt.errors import DataError
from minigpt.files import abandoned, temporary, writing

TIMEOUT = (5.0, 30.0)
"""Seconds to connect, seconds without a byte."""
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each new attempt at the rest of a file."""
CHUNK = 64 * 1024
Progress = Callable[[int], None]
"""Called with the bytes that have arrived."""


class Web:
    """HTTP with one set of proxy and certificates; environment proxies and netrc count too."""

    def __init__(
        self, proxy: str | None = None, cert: str | None = None, client_cert: str | None = None
    ) -> None:
        """What is None is left to the environment."""
        # Given with each request: on a session, REQUESTS_CA_BUNDLE and HTTPS_PROXY would win.
        self.options: dict[str, Any] = {"timeout": TIMEOUT, "cert": client_cert}
        if proxy:
            self.options["proxies"] = {"http": proxy, "https": proxy}
        if cert:
            self.options["verify"] = cert
        self.session = requests.Session()
        retry = Retry(
            total=2,
            connect=1,
            backoff_factor=0.3,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=retry))

    def get(self, url: str, headers: dict[str, str], *, stream: bool = False) -> requests.Response:
        """One GET; busy servers and cut connections are asked again.

        Raises:
            requests.RequestException: there is no answer.
        """
        try:
            return self.session.get(url, headers=headers, stream=stream, **self.options)
        except ValueError as error:  # of an address, of a redirect's too: requests lets some out
            if isinstance(error, requests.RequestException):
                raise
            raise requests.exceptions.InvalidURL("it is no address") from error


def fetch(what: str, url: str, target: Path, pin: Pin, web: Web, progress: Progress) -> None:
    """Put the pinned file at `target`. `what` begins the error messages.

    Raises:
        DataError: the file cannot be reached, or is not the pinned one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    resumable, part = target.with_name(f"{target.name}.part"), temporary(target)
    for rest in (resumable, *abandoned(target)):
        # Of several processes that share the cache, one gets it.
        with contextlib.suppress(FileNotFoundError):
            rest.replace(part)
    bring = _copy_local if url.startswith("file:") else _fetch_parts
    try:
        resumed = part.exists()
        bring(what, url, part, pin, web, progress)
        if resumed and file_digest(part) != pin.sha256:
            part.unlink()  # what was left here may be of another file; the source is not to blame
            bring(what, url, part, pin, web, progress)
        check(what, part, pin)
        part.replace(target)
    finally:
        if part.exists():
            part.replace(resumable)


def _copy_local(what: str, url: str, part: Path, pin: Pin, web: Web, progress: Progress) -> None:
    """Fill `part` from a file of this machine, as far as the pinned one could go."""
    del web
    address = urlsplit(url)
    file = Path(url2pathname(address.path))
    if address.netloc not in ("", "localhost"):
        raise DataError(
            f"{what}: {shown(url)} is on another machine, where file: cannot read. Write "
            f"file://{address.path} for a file of this one, or an https:// address"
        )
    if not file.is_file():  # a device or a pipe may never end
        problem = "is no file" if file.exists() else "is not there"
        raise DataError(f"{what}: {url} {problem}")
    part.unlink(missing_ok=True)  # nothing to resume: it is copied in a moment
    try:
        with writing(part), file.open("rb") as source, part.open("wb") as copy:
            while (have := copy.tell()) <= pin.bytes and (chunk := source.read(CHUNK)):
                copy.write(chunk)
                progress(have + len(chunk))
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def check(what: str, path: Path, pin: Pin) -> None:
    """Refuse, and delete, a file that is not the pinned one."""
    size, sha256 = path.stat().st_size, file_digest(path)
    if sha256 == pin.sha256 and size == pin.bytes:
        return
    path.unlink()
    if sha256 == pin.sha256:
        raise DataError(
            f"{what}: {pin.filename} has {size:,} bytes, params.yaml says {pin.bytes:,}; its "
            "sha256 is right, so correct pin.bytes in params.yaml (sources)."
        )
    raise DataError(
        f"{what}: wrong sha256: {pin.filename} has {sha256} ({size:,} bytes), params.yaml pins "
        f"{pin.sha256} ({pin.bytes:,} bytes). It was not used. If the pin is mistyped, correct it "
        "in params.yaml (sources); else the file was changed at its source: trust another."
    )


def _fetch_parts(what: str, url: str, part: Path, pin: Pin, web: Web, progress: Progress) -> None:
    """Fill `part`, asking for the rest as often as PAUSES allows."""
    problem: requests.RequestException | None = None
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        try:
            with writing(part):
                _append(url, part, pin, web, progress)
        except CUT as error:
            problem = error
            if why(error) in UNREACHABLE:
                break
            continue
        except requests.RequestException as error:
            raise DataError(f"{what}: {shown(url)} cannot be fetched ({why(error)})") from error
        if part.stat().st_size >= pin.bytes:
            return
    have = part.stat().st_size if part.is_file() else 0
    reason = why(problem) if problem else "it ended early"
    raise DataError(
        f"{what}: {shown(url)} cannot be fetched whole ({reason}): {have:,} of {pin.bytes:,} bytes "
        "are here. Run the same command; it goes on from there."
    ) from problem


def _append(url: str, part: Path, pin: Pin, web: Web, progress: Progress) -> None:
    """Ask for what `part` lacks and append it."""
    have = part.stat().st_size if part.is_file() else 0
    if have >= pin.bytes:  # whole already, or from another file: the digest will tell
        return
    # identity: a compressed transfer would have other offsets than the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with web.get(url, headers, stream=True) as answer:
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content and answer.headers.get(
            "Content-Range", ""
        ).startswith(f"bytes {have}-")
        have = have if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress(have)
                if have > pin.bytes:
                    break  # larger than pinned: the digest will refuse it


def shown(url: str) -> str:
    """An address without user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path


def why(error: BaseException) -> str:
    """The reason at the bottom of a network error, in a few words and without addresses."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    chain: list[BaseException] = []
    pending: list[Any] = [error]
    while pending:
        cause = pending.pop()
        if isinstance(cause, BaseException) and cause not in chain:
            chain.append(cause)
            pending += [
                *cause.args,
                cause.__cause__,
                cause.__context__,
                getattr(cause, "reason", None),
            ]
    for kind, words in REASONS.items():
        if any(isinstance(cause, kind) for cause in chain):
            return words
    return type(error).__name__


CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
"""What another attempt may get over."""
UNREACHABLE = ("connection refused", "its name cannot be resolved")
REASONS: dict[type[BaseException], str] = {
    ConnectionRefusedError: "connection refused",
    socket.gaierror: "its name cannot be resolved",
    requests.exceptions.SSLError: "its certificate is not accepted",
    requests.exceptions.ProxyError: "the proxy does not answer",
    requests.exceptions.ConnectTimeout: "no answer",
    requests.exceptions.Timeout: "no answer",
    requests.exceptions.ChunkedEncodingError: "the connection was cut",
    requests.exceptions.ConnectionError: "the connection failed",
    requests.exceptions.InvalidURL: "not an address",
    requests.exceptions.InvalidSchema: "not an address",
    requests.exceptions.MissingSchema: "not an address",
    ValueError: "not an address",
    OSError: "not readable",
}
