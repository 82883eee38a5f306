"""What vouches for the code that a rebuild is about to run, asked before any of it is applied.

The digest that names a version covers what was built and not the code; and who can write a store
can write both. So a signature must vouch for the code, or the user's own git, or the user.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from minigpt.digest import file_digest
from minigpt.dvc_lock import LOCK
from minigpt.errors import ParamsError, RegistryError, UntrustedError
from minigpt.git import run_git
from minigpt.registry.artifacts import FILES, FROM_COPY, MANIFEST, PATCH, VersionFiles
from minigpt.registry.provenance import dsse
from minigpt.registry.provenance.keys import key_id, public_key
from minigpt.registry.provenance.provenance import (
    ENVELOPE,
    commit_of,
    materials,
    signature_problem,
    stated_files,
)

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
OWN_REFS = ("refs/heads", "refs/tags", "refs/remotes")
ACTED_ON = (MANIFEST, FILES, LOCK)
"""What a verification reads beside the code; it says what is expected and runs nothing."""


@dataclass(frozen=True)
class Code:
    """The code of a version as a store has it: read once, so that what is checked is what runs."""

    commit: str
    patch: bytes
    """Empty: the tree was as the commit has it."""

    @property
    def words(self) -> str:
        """What it is, for people."""
        return f"commit {self.commit[:12]}{' and its source.patch' if self.patch else ''}"


@dataclass(frozen=True)
class Voucher:
    """Who answers for a version."""

    by: Literal["signature", "git", "you", "nobody"]
    words: str
    """What was vouched for and by what."""
    problem: str = ""
    """What speaks against the version's own statement, where something else vouches."""


def code_of(files: VersionFiles) -> Code:
    """The code that a version says it is of.

    Raises:
        RegistryError: it names no commit, or its patch is gone.
    """
    version = files.version
    if not COMMIT.fullmatch(version.commit):
        raise RegistryError(
            f"{version.name} {version.version}: {version.commit[:40]!r} is no commit id. "
            f"{FROM_COPY}; its files alone: minigpt verify {version.version} --from-cache"
        )
    patch = files.need(PATCH).read_bytes() if version.dirty else b""
    return Code(version.commit, patch)


def vouch(root: Path, files: VersionFiles, code: Code, ref: str, key: Path | None) -> Voucher:
    """Who vouches for `code`: the statement signed with `key` (else the user's own), or git.

    `ref` is what to type for the version.

    Raises:
        UntrustedError: nobody does; it says how to look at the code and how to go on.
        ParamsError: `key` is no public key.
    """
    signer, problem, other = _signer(files, key, code)
    if signer:
        return Voucher("signature", f"{code.words}: signed by {signer}")
    branch = holding_ref(root, code.commit)
    if branch and not code.patch:
        return Voucher("git", f"{code.words}: it is in {branch} of this repository", other)
    if branch:
        why = f"git has the commit (in {branch}), but nobody vouches for its source.patch"
        look = f"minigpt lineage {ref} --patch"
    else:
        why = f"nobody vouches for {code.words}: no branch or tag of this repository has the commit"
        look = f"git show {code.commit[:12]}" + f" · minigpt lineage {ref} --patch" * bool(
            code.patch
        )
    reason = problem.partition(". ")[0]
    raise UntrustedError(
        f"{files.version.name} {files.version.version}: {why} ({reason}). A rebuild runs that code "
        f"as you. Look at it first: {look}. To go on: minigpt verify {ref} --trust-store; where "
        f"it is yours, sign it once: minigpt registry sign {ref}; without a rebuild: minigpt "
        f"verify {ref} --from-cache"
    )


def vouch_for_list(files: VersionFiles, key: Path | None) -> Voucher:
    """Who vouches for the list of files that a version is compared with."""
    signer, problem, _ = _signer(files, key, None)
    if signer:
        return Voucher("signature", f"the list of its files: signed by {signer}")
    return Voucher(
        "nobody",
        "nobody vouches for the list of its files: damage shows, but whoever can write the store "
        f"can change a file and the list ({problem})",
    )


def holding_ref(root: Path, commit: str) -> str | None:
    """A branch, tag or remote-tracking branch of the user's that holds a commit; else None.

    Objects alone say nothing: a fetch of a stranger's pull request brings them too.
    """
    done = run_git(
        root, "for-each-ref", "--count=1", f"--contains={commit}", "--format=%(refname:short)",
        *OWN_REFS,
    )  # fmt: skip
    if name := done.stdout.decode(errors="replace").strip():
        return name
    ancestor = run_git(root, "merge-base", "--is-ancestor", commit, "HEAD").returncode == 0
    return "HEAD" if ancestor else None


def _signer(files: VersionFiles, key: Path | None, code: Code | None) -> tuple[str, str, str]:
    """Whose signature vouches for the version; else why none does.

    The last of the three is said also where git vouches: a signature is there, and does not hold.
    """
    try:
        expected = public_key(key)
        envelope, said = dsse.opened(files.need(ENVELOPE).read_bytes(), ENVELOPE)
    except ParamsError:
        if key is not None:
            raise
        return "", "your own public key cannot be read", ""
    except RegistryError as error:
        return "", str(error).rstrip("."), ""
    problem = signature_problem(envelope, files.version, expected)
    problem = problem or _difference(files, said, code)
    if problem or expected is None:
        signed = bool(envelope["signatures"]) and expected is not None
        return "", problem or "there is no key", problem or "" if signed else ""
    return ("your key" if key is None else f"key {key_id(expected)[:12]} ({key})"), "", ""


def _difference(files: VersionFiles, said: dict[str, object], code: Code | None) -> str | None:
    """What a signed statement says otherwise than the store; None: nothing."""
    try:
        stated, commit = stated_files(said) | materials(said), commit_of(said)
    except (KeyError, TypeError, AttributeError):
        return f"{ENVELOPE}: its statement is not of the form that minigpt writes"
    if stated.get(MANIFEST) != files.version.digest:
        return f"{ENVELOPE}: speaks of another version"
    stored = {name: file_digest(path) if (path := files.path(name)) else "" for name in ACTED_ON}
    if code is not None:
        if commit != code.commit:
            return f"{ENVELOPE}: speaks of commit {str(commit)[:12]}, not of {code.commit[:12]}"
        stored[PATCH] = sha256(code.patch).hexdigest() if code.patch else ""
    for name, digest in stored.items():
        if digest != stated.get(name, ""):
            return f"{name}: DIFFERENT: not what was signed"
    return None
