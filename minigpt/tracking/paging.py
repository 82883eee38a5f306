"""Everything that a search finds: each method of MLflow's answers one page of it."""

from collections.abc import Callable, Iterator
from typing import Any


def every_page(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """What `search` finds, page by page until the last one; its order should be one that stays."""
    token = None
    while True:
        page = search(*arguments, **options, page_token=token)
        yield from page
        token = page.token or None  # the last page of a server's has an empty one
        if token is None:
            return
