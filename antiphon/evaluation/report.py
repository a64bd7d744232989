"""The report of an evaluation: JSON for programs, Markdown for documents, and a page with players for people."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiphon import __version__
from antiphon.audio.clip import Audio
from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.evaluation.page import page
from antiphon.evaluation.table import Table

JSON_NAME, TEXT_NAME, PAGE_NAME = "report.json", "report.md", "index.html"


@dataclass(frozen=True, eq=False)
class Shown:
    """A prompt on the page: its text, what was asked and heard, and the sounds to play, by their names."""

    text: str
    lines: tuple[str, ...]
    sounds: dict[str, Audio]


@dataclass(frozen=True, eq=False)
class Report:
    """What an evaluation found.

    Attributes:
        title: of the page. facts: what was evaluated and how; JSON can hold them.
        tables: the figures. clips: what was asked and heard of each prompt; JSON can hold them.
        shown: prompts with players. pictures: PNG files by their captions.
    """

    title: str
    facts: dict[str, Any]
    tables: list[Table]
    clips: list[dict[str, Any]] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    pictures: dict[str, Path] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: facts, tables and clips."""
        tables = [table.to_dict() for table in self.tables]
        return {
            "title": self.title,
            "antiphon": __version__,
            "facts": self.facts,
            "tables": tables,
            "clips": self.clips,
        }

    def markdown(self) -> str:
        """Facts and tables as Markdown."""
        facts = "\n".join(f"- {name}: {value}" for name, value in self.facts.items())
        return f"# {self.title}\n\n{facts}\n\n" + "\n".join(table.markdown() for table in self.tables)

    def write(self, folder: Path) -> Path:
        """Writes the three files into a folder, which is made if missing, and gives the path of the page.

        Raises:
            CheckpointError: a file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        texts = {
            JSON_NAME: json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n",
            TEXT_NAME: self.markdown(),
            PAGE_NAME: page(self),
        }
        for name, text in texts.items():
            with atomic_write(folder / name) as part:
                part.write_text(text, encoding="utf-8")
        return folder / PAGE_NAME
