"""Models by the names that audiocraft gives them."""

from __future__ import annotations

from antiphon.audiocraft.models.musicgen import MusicGen as MusicGen
