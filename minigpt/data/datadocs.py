"""data/validation.json as a page for people. It needs no network: its style is in it."""

from collections.abc import Iterable
from html import escape
from typing import Any

from minigpt.data.checks import Dropped

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;
padding:.3rem .6rem;border-bottom:1px solid #ddd}code{font-size:.85em;overflow-wrap:anywhere}
.holds{color:#176b37}.fails{color:#a01818;font-weight:600}small{color:#666}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}td,th{border-color:#444}
.holds{color:#6fcf8f}.fails{color:#ff8a80}small{color:#aaa}}
"""
SHOWN = 200
"""Documents listed under one expectation, and dropped ones."""


def render_data_docs(validation: dict[str, Any], dropped: Iterable[Dropped] = ()) -> str:
    """The whole page, from the value of data/validation.json and what was dropped."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Validation of the documents</title><style>{STYLE}</style></head><body>\n"
        f"<h1>Validation of the documents</h1>\n{render_body(validation, dropped)}</body></html>\n"
    )


def render_body(validation: dict[str, Any], dropped: Iterable[Dropped] = ()) -> str:
    """The page's content, for a page that has its own head."""
    counts = validation["statistics"]
    kind = "holds" if validation["success"] else "fails"
    rows = "".join(expectation_row(entry) for entry in validation["expectations"])
    left = counts["stated"] - counts["evaluated"]
    later = f"<p>{left} more were not asked, because of what fails.</p>\n" if left else ""
    return (
        f'<p class="{kind}">{counts["successful"]} of {counts["stated"]} expectations hold</p>\n'
        f"<p>{validation['documents']:,} documents, {validation['bytes']:,} bytes</p>\n"
        "<table><tr><th>Expectation</th><th>Outcome</th><th>Asked as</th></tr>\n"
        f"{rows}</table>\n{later}{dropped_table(list(dropped))}"
    )


def expectation_row(entry: dict[str, Any]) -> str:
    """One expectation with the documents that fail it."""
    outcome = '<span class="holds">holds</span>'
    if not entry["success"]:
        failing = entry["failing"]
        items = "".join(
            f"<li>{escape(item['doc_id'])}: {escape(item['detail'])}<br><small>sha256 "
            f"<code>{escape(item['sha256'])}</code></small></li>"
            for item in failing[:SHOWN]
        )
        more = f"<li>… and {len(failing) - SHOWN:,} more</li>" if len(failing) > SHOWN else ""
        observation = "" if failing else f": found <code>{escape(str(entry['observed']))}</code>"
        outcome = f'<span class="fails">fails</span>{observation}<ul>{items}{more}</ul>'
    kwargs = ", ".join(f"{key}={value}" for key, value in sorted(entry["kwargs"].items()))
    return (
        f"<tr><td>{escape(entry['name'])}</td><td>{outcome}</td>"
        f"<td><code>{escape(entry['type'])}({escape(kwargs)})</code></td></tr>\n"
    )


def dropped_table(dropped: list[Dropped]) -> str:
    """What was dropped, and why."""
    if not dropped:
        return "<h2>Dropped</h2>\n<p>No document was dropped.</p>\n"
    rows = "".join(
        f"<tr><td>{escape(d.doc_id)}</td><td>{escape(d.reason)}</td><td>{escape(d.detail)}</td></tr>\n"
        for d in dropped[:SHOWN]
    )
    more = f"<p>… and {len(dropped) - SHOWN:,} more</p>\n" if len(dropped) > SHOWN else ""
    return (
        f"<h2>Dropped: {len(dropped):,}</h2>\n<table><tr><th>Document</th><th>Reason</th>"
        f"<th>Detail</th></tr>\n{rows}</table>\n{more}"
    )
