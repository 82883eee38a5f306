"""Where a package index keeps a file, asked as the user's pip is configured to ask.

Settings come from PIP_* variables, then from pip's configuration files, as pip reads them; pip
itself is not needed. Nothing here is installed or run: an sdist's set-up code would be, by pip.
"""

import configparser
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

import requests
from pypi_simple import PYPI_SIMPLE_ENDPOINT, ProjectPage, UnsupportedContentTypeError
from pypi_simple.errors import UnsupportedRepoVersionError

from minigpt.data.fetch import Web, shown, why
from minigpt.errors import DataError

if TYPE_CHECKING:
    from minigpt.data.sources.package import PackageSource

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1"


@dataclass(frozen=True)
class PipSettings:
    """What pip would ask, and how."""

    indexes: list[str]
    links: list[str] = field(default_factory=list)
    """Folders or pages with files (find-links)."""
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None

    def web(self) -> Web:
        """HTTP as pip would speak it."""
        return Web(self.proxy, self.cert, self.client_cert)


def pip_settings() -> PipSettings:
    """Read PIP_* variables and pip's configuration files."""
    values = config_values()
    for name in (
        "index-url",
        "extra-index-url",
        "find-links",
        "cert",
        "client-cert",
        "proxy",
        "no-index",
    ):
        if value := os.environ.get("PIP_" + name.upper().replace("-", "_")):
            values[name] = value
    indexes = [
        values.get("index-url", PYPI_SIMPLE_ENDPOINT),
        *values.get("extra-index-url", "").split(),
    ]
    return PipSettings(
        indexes=[] if values.get("no-index", "").lower() in ("1", "true", "yes", "on") else indexes,
        links=values.get("find-links", "").split(),
        cert=values.get("cert"),
        client_cert=values.get("client-cert"),
        proxy=values.get("proxy"),
    )


def config_values() -> dict[str, str]:
    """[global] of pip's files, then [download]; later files win, as in pip."""
    named = os.environ.get("PIP_CONFIG_FILE")
    values: dict[str, str] = {}
    for path in [] if named == os.devnull else [*config_files(), *([Path(named)] if named else [])]:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: pip's configuration cannot be read: {error}") from error
        for section in ("global", "download"):
            if parser.has_section(section):
                values |= {k.replace("_", "-"): v for k, v in parser.items(section) if v.strip()}
    return values


def config_files() -> list[Path]:
    """Where pip's configuration may lie, weakest first: machine, user, environment."""
    home = Path.home()
    if sys.platform == "win32":
        roots = [Path(os.environ.get("PROGRAMDATA", "C:/ProgramData")) / "pip" / "pip.ini"]
        user = [home / "pip" / "pip.ini", Path(os.environ.get("APPDATA", home)) / "pip" / "pip.ini"]
        return [*roots, *user, Path(sys.prefix) / "pip.ini"]
    machine = os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    roots = [Path("/etc/pip.conf"), *(Path(folder) / "pip" / "pip.conf" for folder in machine)]
    user = [home / ".pip" / "pip.conf"]
    if sys.platform == "darwin":
        user.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
    user.append(Path(os.environ.get("XDG_CONFIG_HOME", home / ".config")) / "pip" / "pip.conf")
    return [*roots, *user, Path(sys.prefix) / "pip.conf"]


def find(name: str, source: "PackageSource", pip: PipSettings, web: Web) -> str:
    """The address (or file) of a pinned archive: folders of links first, then each index.

    Raises:
        DataError: no index can be reached, or none has the file.
    """
    problems, reached = [], False
    for place in pip.links + pip.indexes:
        is_index = place in pip.indexes
        try:
            address = look(place, source, web, is_index=is_index)
        except (
            requests.RequestException,
            OSError,
            ValueError,
            UnsupportedRepoVersionError,
            UnsupportedContentTypeError,
        ) as error:
            problems.append(f"{shown(place)} ({why(error)})")
            continue
        if address:
            return address
        reached = reached or is_index
    tried = (
        "; ".join(problems) or ", ".join(shown(place) for place in pip.indexes) or "no index set"
    )
    what = f"sources.{name}: {source.pin.filename}"
    if reached and not problems:
        raise DataError(
            f"{what} is on no index that pip is configured with (tried: {tried}). Check package, "
            "version and filename in params.yaml, or set PIP_INDEX_URL, then run the same command."
        )
    raise DataError(
        f"{what}: no package index can be reached: {tried}. Check the network or the proxy, set "
        f"PIP_INDEX_URL to an index that answers, or put the file into a folder named by "
        "PIP_FIND_LINKS, then run the same command."
    )


def look(place: str, source: "PackageSource", web: Web, *, is_index: bool) -> str | None:
    """The address of the pinned file at one index or link page, or None."""
    wanted = source.pin.filename
    project = urljoin(place.rstrip("/") + "/", f"{source.package.lower().replace('_', '-')}/")
    page_url = project if is_index else place
    if folder := local_path(page_url):
        if (folder / wanted).is_file():
            return (folder / wanted).as_uri()
        page_file = folder / "index.html" if folder.is_dir() else folder
        if not page_file.is_file():
            return None
        page = ProjectPage.from_html(source.package, page_file.read_bytes(), page_file.as_uri())
    else:
        answer = web.get(page_url, {"Accept": ACCEPT})
        if answer.status_code in (404, 410):
            return None
        answer.raise_for_status()
        page = ProjectPage.from_response(answer, source.package)
    url = next((p.url for p in page.packages if p.filename == wanted), None)
    return url and with_credentials(url, place)


def with_credentials(address: str, index: str) -> str:
    """The address with the user and password of the index, where both are on one host."""
    there, here = urlsplit(address), urlsplit(index)
    secret, at, _ = here.netloc.rpartition("@")
    if at and there.netloc == here.netloc.rpartition("@")[2]:
        return there._replace(netloc=f"{secret}@{there.netloc}").geturl()
    return address


def local_path(place: str) -> Path | None:
    """The path behind a file:// address or a plain path; None for an address on a network."""
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme in ("http", "https") else Path(place)
