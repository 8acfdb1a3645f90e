"""The page of a demonstration: one HTML file without anything outside it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Anomalite: what was watched</title>
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24 }}
 table {{ border-collapse: collapse; width: 100% }}
 td:first-child {{ white-space: nowrap }}
 td, th {{ text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #ddd }}
 svg {{ width: 100%; height: auto }} .critical {{ color: #b3261e; font-weight: 600 }} .warning {{ color: #8a5a00 }}
 .pictures {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(30rem, 1fr)); gap: 1.2rem }}
 figure {{ margin: 0 }} figure img {{ width: calc(50% - .2rem); max-height: 18rem; object-fit: contain }}
 figcaption {{ font-size: .85rem; line-height: 1.35 }}
</style></head><body>
<h1>What was watched, and what was found</h1>
{body}
</body></html>
"""


def page(body: str) -> str:
    """Return the page with a body, HTML."""
    return _PAGE.format(body=body)


def table(headings: Sequence[str], rows: Iterable[tuple[str, Sequence[object]]]) -> str:
    """Return a table; each row is a class of the page's style and its cells."""
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    told = "\n".join(
        f'<tr class="{html.escape(style)}">' + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"
        for style, cells in rows
    )
    nothing = f'<tr><td colspan="{len(headings)}">none</td></tr>'
    return f"<table><tr>{head}</tr>\n{told or nothing}\n</table>"
