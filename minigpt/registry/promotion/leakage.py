"""Whether a version was trained on the texts that it is to be judged on."""

from collections.abc import Iterable

from minigpt.data.document import Document
from minigpt.data.near_duplicates import RUN
from minigpt.data.word_runs import WordRuns
from minigpt.registry.promotion import remedies
from minigpt.registry.promotion.condition import Condition
from minigpt.release.document_index import learned

SET = "evaluation set"
HELD = 0.5
"""A share of a text's runs from which on it counts as learned: pages of one author share few."""


def leaked(frozen: Iterable[Document], index: Iterable[Document], word_runs: WordRuns) -> Condition:
    """Whether a version was trained on a text that it is to be judged on.

    By the digest of each, and by how many of its runs of words the training text has anywhere: a
    copy with a foreword, or in pieces, is found too.
    """
    trained, documents, found, most = learned(index), list(frozen), [], 0.0
    for document in documents:
        share = 1.0 if document.sha256 in trained else word_runs.share_of(document.text) or 0.0
        most = max(most, share)
        if share >= HELD:
            found.append(f"{document.doc_id} ({document.sha256[:8]}…, {share:.0%} of it)")
    if not found:
        text = f"it was trained on none of the {len(documents)} documents, by digest, and by runs "
        return Condition(SET, f"{text}of {RUN} words on {most:.0%} of one at most", True)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    text = f"it was trained on {len(found)} of the {len(documents)} documents"
    text += f": {', '.join(found[:3])}{more}"
    return Condition(SET, text, False, remedies.LEARNED)
