"""What became of each file of a version that was proven."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What is said of one file."""

    IDENTICAL = "identical"
    TOLERATED = "within tolerance"
    """Its figures are near enough: it was rebuilt on another kind of machine."""
    OTHER_MACHINE = "other bytes"
    """It follows from a training on another kind of machine; only figures are compared."""
    DIFFERENT = "DIFFERENT"
    MISSING = "MISSING"
    UNEXPECTED = "UNEXPECTED"
    """The version has no such file."""
    ABSENT = "not here"
    """Nothing is wrong: DVC's cache of this checkout lacks it, as a clone's does before a pull."""

    @property
    def bad(self) -> bool:
        """Whether it speaks against the version."""
        return self in (Outcome.DIFFERENT, Outcome.MISSING, Outcome.UNEXPECTED)


@dataclass(frozen=True)
class Verdict:
    """One file, or a whole output that is not there."""

    path: str
    out: str
    """The output of a stage that it belongs to."""
    outcome: Outcome
    detail: str = ""
    """Where it differs, and by how much."""


@dataclass(frozen=True)
class Report:
    """What a verification found."""

    version: str
    name: str
    ref: str
    """What to type for it: its number, with the name where that is not the project's."""
    commit: str
    mode: str
    """`rebuild` or `from-cache`."""
    verdicts: Sequence[Verdict]
    seconds: float
    sources: dict[str, str] = field(default_factory=dict)
    """Where the archive of each source came from."""
    notes: Sequence[str] = ()
    """What else a reader must know: another environment, another machine."""
    machine: dict[str, str] = field(default_factory=dict)
    """What differs between the machine that made it and this one."""
    vouched_by: str = ""
    """signature, git, you or nobody."""
    vouched: str = ""
    """What was vouched for and by what, in words."""
    brought_by: str = ""
    """The command that brings what is not here; empty where all is."""

    @property
    def bad(self) -> list[Verdict]:
        """What speaks against the version."""
        return [verdict for verdict in self.verdicts if verdict.outcome.bad]

    @property
    def absent(self) -> list[Verdict]:
        """What could not be looked at, because it is not here."""
        return [verdict for verdict in self.verdicts if verdict.outcome is Outcome.ABSENT]

    @property
    def holds(self) -> bool:
        """Whether every file was looked at, and none speaks against the version."""
        return not (self.bad or self.absent)

    def count(self, outcome: Outcome) -> int:
        """How many files have this outcome."""
        return sum(verdict.outcome is outcome for verdict in self.verdicts)

    @property
    def verdict(self) -> str:
        """In a word: identical, within tolerance, not all here or different."""
        if self.bad:
            return "different"
        if self.absent:
            return "not all here"
        whole = all(verdict.outcome is Outcome.IDENTICAL for verdict in self.verdicts)
        return "identical" if whole else "within tolerance"


def summary(report: Report) -> str:
    """The verdict in one or two sentences."""
    whole, count = len(report.verdicts), report.count
    if report.bad:
        counts = [f"{o}: {count(o)} of {whole} files" for o in Outcome if o.bad and count(o)]
        return f"{'; '.join(counts)}."
    if report.absent:
        return (
            f"not all here: {len(report.absent)} of {whole} files are not in DVC's cache; "
            f"{count(Outcome.IDENTICAL)} are here, and are what was registered."
        )
    if report.mode == "from-cache":
        return (
            f"identical: {whole} of {whole} files are what was registered. This proves integrity "
            "only; that they can be rebuilt: "
            f"minigpt verify {report.ref}"
        )
    if report.verdict == "identical":
        return (
            f"identical: {whole} of {whole} files. This model can be rebuilt from its sources, "
            "byte for byte."
        )
    return (
        f"within tolerance: {count(Outcome.IDENTICAL)} of {whole} files identical, "
        f"{count(Outcome.TOLERATED)} with figures within tolerance, "
        f"{count(Outcome.OTHER_MACHINE)} with other bytes, as on another kind of machine they may "
        f"({' · '.join(f'{name} {words}' for name, words in report.machine.items())})."
    )


def lines(verdicts: Sequence[Verdict]) -> list[tuple[str, str, str]]:
    """(what, how many or which, what is said): a line an output, and one for each bad file."""
    outs: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        outs.setdefault(verdict.out, []).append(verdict)
    rows = []
    for out, inside in sorted(outs.items()):
        for outcome in Outcome:
            same = [verdict for verdict in inside if verdict.outcome is outcome]
            if not same:
                continue
            if outcome is Outcome.DIFFERENT or (len(same) == 1 and outcome.bad):
                rows += [(v.path, str(v.outcome), v.detail) for v in same]
                continue
            noun = "file" if len(same) == 1 else "files"
            detail = same[0].detail if outcome not in (Outcome.IDENTICAL, Outcome.ABSENT) else ""
            rows.append((out, f"{len(same)} {noun}", f"{outcome} {detail}".strip()))
    return rows
