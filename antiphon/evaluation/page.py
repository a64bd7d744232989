"""The page of a report: one HTML file that needs nothing beside it, with its pictures and sounds inside."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.audio import files
from antiphon.evaluation.table import Table, shown

if TYPE_CHECKING:
    from antiphon.evaluation.report import Report, Shown

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #22303a; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { color: #1f6f78; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #dfe5e8; padding: 0.3rem 0.8rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td small { color: #6b7a83; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dd { margin: 0; }
img { max-width: 100%; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.clips section { border: 1px solid #dfe5e8; border-radius: 6px; padding: 0.8rem; }
audio { width: 100%; }
""".strip()


def page(report: Report) -> str:
    """The page of a report as text."""
    facts = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in report.facts.items())
    parts = [f"<h1>{_text(report.title)}</h1>", f"<dl>{facts}</dl>"]
    parts += [_table(table) for table in report.tables]
    parts += [_picture(caption, path) for caption, path in report.pictures.items()]
    if report.shown:
        parts.append(f'<h2>To listen to</h2><div class="clips">{"".join(map(_clip, report.shown))}</div>')
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(report.title)}</title>'
        f"<style>\n{_STYLE}\n</style></head><body>\n{body}\n</body></html>\n"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in ("", *table.columns))
    rows = ""
    for row in table.rows:
        cells = "".join(f"<td>{_figure(shown(cell, row.unit))}</td>" for cell in row.cells)
        rows += f"<tr><td>{_text(row.name)}</td>{cells}</tr>"
    note = f"<p>{_text(table.note)}</p>" if table.note else ""
    return f"<h2>{_text(table.title)}</h2>{note}<table><tr>{head}</tr>{rows}</table>"


def _figure(text: str) -> str:
    value, bracket, interval = text.partition(" (")
    return _text(value) + (f" <small>({_text(interval)}</small>" if bracket else "")


def _picture(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{data}"></figure>'


def _clip(clip: Shown) -> str:
    lines = "<br>".join(_text(line) for line in clip.lines)
    players = ""
    for name, sound in clip.sounds.items():
        data = base64.b64encode(files.encode(sound.samples, sound.sampling_rate, format="mp3")).decode()
        players += (
            f'<div>{_text(name)}<audio controls preload="none" src="data:audio/mpeg;base64,{data}"></audio></div>'
        )
    return f"<section><strong>{_text(clip.text)}</strong><p>{lines}</p>{players}</section>"


def _text(value: object) -> str:
    return html.escape(str(value))
