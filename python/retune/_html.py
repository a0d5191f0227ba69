"""Tables and pages as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table whose numbers are aligned to the right."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    caption = f"<caption style='text-align:left'>{escape(caption)}</caption>" if caption else ""
    return f"<table class='dataframe'>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        value = f"{value:.4g}"
    elif isinstance(value, int) and not isinstance(value, bool):
        value = f"{value:,}"
    elif value is None:
        value = "–"
    align = "right" if value == "–" or str(value)[:1].isdigit() or str(value)[:1] in "-−+" else "left"
    return f"<td style='text-align:{align}'>{escape(str(value))}</td>"


def escaped(text: str) -> str:
    """Text as HTML."""
    return escape(text)


def percent(share: float | None) -> str:
    """A share of 1 in percent."""
    return "–" if share is None else f"{100 * share:.1f} %"


def interval(bounds: Sequence[float] | None) -> str:
    """An interval of shares in percent."""
    return "–" if bounds is None else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f} %"


class Page:
    """A page of HTML that a notebook shows in a frame of its own."""

    def __init__(self, html: str, height: int = 640) -> None:
        self.html, self.height = html, height

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html, quote=True)}" width="100%" height="{self.height}" '
            'style="border:0" sandbox="allow-scripts"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<page of {len(self.html):,} characters>"
