"""/docs: the API on one page, made from openapi.json; it loads nothing from anywhere."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { overflow-x: auto; padding: .7rem; border: 1px solid #8886; border-radius: .4rem }
section { border-top: 1px solid #8886; margin-top: 1.5rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0 }
tr + tr td { border-top: 1px solid #8883 }
"""
EXAMPLES = {
    "/generate": (
        'curl -s {base}/generate -d \'{{"prompt": "My fellow citizens", "max_tokens": 20}}\''
    ),
    "/v1/completions": (
        'curl -sN {base}/v1/completions -d \'{{"prompt": "My fellow citizens", "stream": true}}\''
    ),
    "/v1/chat/completions": (
        'curl -s {base}/v1/chat/completions -d \'{{"messages": [{{"role": "user", '
        '"content": "My fellow citizens"}}]}}\''
    ),
}


def page(api: Mapping[str, Any], base_url: str) -> str:
    """The page, of an OpenAPI description."""
    models = api.get("components", {}).get("schemas", {})
    sections = [
        _section(path, method.upper(), operation, models, base_url)
        for path, operations in api["paths"].items()
        for method, operation in operations.items()
    ]
    title = api["info"]["title"]
    return str(
        Markup(
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<title>{title}</title><style>{style}</style></head><body><main><h1>{title}</h1>"
            '<p>{description} All of it for programs: <a href="/openapi.json">openapi.json</a>.</p>'
            "{sections}</main></body></html>"
        ).format(
            title=title,
            style=Markup(STYLE),  # noqa: S704 (ours)
            description=api["info"].get("description", ""),
            sections=Markup("").join(sections),
        )
    )


def _section(
    path: str, method: str, operation: Mapping[str, Any], models: Mapping[str, Any], base: str
) -> Markup:
    """One route."""
    parts = [
        Markup("<h2><code>{} {}</code></h2><p>{}</p>").format(
            method, path, operation.get("description") or operation.get("summary", "")
        )
    ]
    if path in EXAMPLES:
        parts.append(Markup("<pre>{}</pre>").format(EXAMPLES[path].format(base=base)))
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    if name in models:
        parts.append(_table(models[name]))
    return Markup("<section>{}</section>").format(Markup("").join(parts))


def _table(model: Mapping[str, Any]) -> Markup:
    """The fields of a body."""
    required = model.get("required", ())
    rows = [
        Markup("<tr><td><code>{}</code>{}</td><td>{}</td><td>{}</td></tr>").format(
            name,
            " *" if name in required else "",
            field.get("description", ""),
            "" if field.get("default") in (None, "", []) else escape(field["default"]),
        )
        for name, field in model.get("properties", {}).items()
    ]
    return Markup(
        '<div class="scroll" tabindex="0"><table><thead><tr><th>field (* needed)</th>'
        "<th>what it is</th><th>default</th></tr></thead><tbody>{}</tbody></table></div>"
    ).format(Markup("").join(rows))
