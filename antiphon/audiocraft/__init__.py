"""The interface of audiocraft's MusicGen over this package: a script for it runs when its imports name this one.

``from audiocraft.models import MusicGen`` becomes ``from antiphon.audiocraft.models import MusicGen``. Names,
arguments, defaults and shapes are those of audiocraft 1.3.0; ``docs/audiocraft.md`` says what differs.
"""

from __future__ import annotations

from antiphon.audiocraft.data.audio import audio_read as audio_read
from antiphon.audiocraft.data.audio import audio_write as audio_write
from antiphon.audiocraft.models.musicgen import MusicGen as MusicGen
