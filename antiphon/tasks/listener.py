"""The listener: sounds and a question to an answer, alone, in a conversation, or many at once."""

from __future__ import annotations

import numbers
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any, Unpack

from antiphon import __version__
from antiphon.errors import ParamError
from antiphon.generation.config import GenerationConfig
from antiphon.generation.philox import item_seeds
from antiphon.models.text_generation import end_tokens
from antiphon.nn.kv_cache import KVCache
from antiphon.tasks.answer import Answer, Finish, Part, Turn, merged, turns_of
from antiphon.tasks.answer_stream import AnswerStream
from antiphon.tasks.answering import Answering, Asked, vocabulary_of
from antiphon.tasks.ear import Ear
from antiphon.tasks.facts import QUESTION, Facts, filled_in
from antiphon.tasks.form import Form
from antiphon.tasks.heard_sound import HeardSound, Listened, beginning_of, clock, parts_of
from antiphon.tasks.kept_prefix import KeptPrefixes, signature_of
from antiphon.tasks.listening_prompt import PromptWriter
from antiphon.tasks.listening_request import Asking, ListeningRequest
from antiphon.tasks.listening_settings import ListeningSettings, checked_question
from antiphon.tasks.sound_memory import SoundMemory
from antiphon.tasks.token_texts import TokenTexts
from antiphon.text.token_stream import TokenStream

_KEPT_BYTES = 1 << 30
_CONVERSATIONS_TOGETHER = 8


class Listener:
    """Listens to sounds and answers questions about them, with a Music Flamingo or an Audio Flamingo 3.

    Args:
        model: a ``MusicFlamingoForConditionalGeneration`` or ``AudioFlamingo3ForConditionalGeneration``.
        processor: its own. name: what answers say they were made by. origin: what else they say of the model.
        sound_bytes: of encoded sounds are kept, so that another question about one does not encode it again.
        prefix_bytes: of keys and values are kept, so that another question computes only what is new.

    Attributes:
        sampling_rate: at which sounds are heard, in Hz. longest_s: what is heard at once, in seconds.
        sounds: the encoded ones. prefixes: the kept ones.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        origin: Mapping[str, Any] | None = None,
        sound_bytes: int = _KEPT_BYTES,
        prefix_bytes: int = _KEPT_BYTES,
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.name = name
        self._origin = dict(origin or {})
        self._ear = Ear(model, processor)
        self._prompts = PromptWriter(processor)
        self.sampling_rate: int = self._ear.sampling_rate
        self.longest_s: float = self._ear.longest_s
        self.sounds = SoundMemory(self._ear.encode, most_bytes=sound_bytes)
        self.prefixes = KeptPrefixes(most_bytes=prefix_bytes)
        self._texts: TokenTexts | None = None

    def __repr__(self) -> str:
        return f"Listener({self.name!r}, {self.sampling_rate} Hz, on {self.model.device})"

    def ask(self, audio: Any, question: str, *, history: Any = (), **asked: Unpack[Asking]) -> Answer:
        """The answer to a question about a recording, about several, or about none.

        What was heard once is remembered by its content, and of a conversation only what is new is computed.

        Args:
            audio: a path, the bytes of a file, an ``Audio``, or an array at ``sampling_rate`` Hz; a list of several;
                or ``None``. A conversation goes on with the same.
            question: plain text, in which no word is a command. history: the turns before, as ``Answer.history`` has
                them, or the last answer itself.
            asked: ``sampling_rate`` of arrays, in Hz. ``long``: what becomes of a recording above ``longest_s``:
                ``"cut"`` hears its beginning and names the cut in the log, ``"map"`` asks about each part of
                ``part_seconds`` (``longest_s`` unless told) and tells what was answered with the times. ``strict``
                refuses it. ``temperature`` of the chance, 0 (none) unless told; ``top_k`` and ``top_p`` shape it, 0 is
                off; ``seed`` of it, drawn unless told. ``max_new_tokens`` of an answer, 500 unless told.
                ``stop_when`` is asked between tokens; where it answers true, the answer ends.

        Raises:
            AudioError: a recording that cannot be read, or is too long or too short.
            ParamError, ParamTypeError: a value out of range, or an unknown argument.
            NumericError: the model gave numbers that are not finite.
        """
        return self.stream(audio, question, history=history, **asked).read()

    def stream(self, audio: Any, question: str, *, history: Any = (), **asked: Unpack[Asking]) -> AnswerStream:
        """The answer that ``ask`` gives for the same arguments, word by word as they come.

        Raises:
            As ``ask``, and what is wrong with the arguments or the beginning of the recording when it is called.
        """
        request, turns = ListeningRequest(self.longest_s, asked), turns_of(history)
        checked_question(question)
        if request.reach.long == "map":
            if audio is None or _is_several(audio):
                raise ParamError("long='map' without one recording", expected="one recording", fix="Leave out long")
            parts = parts_of(audio, request.sampling_rate, self.sampling_rate, request.reach)
            first = next(parts)
            return AnswerStream(self._mapped(chain([first], parts), question, turns, request))
        sounds = self._heard(audio, request)
        (seed,) = request.seeds(1)
        return AnswerStream(self._answered(sounds, question, turns, request, seed))

    def ask_each(
        self,
        audios: Sequence[Any],
        questions: str | Sequence[str],
        *,
        together: int = _CONVERSATIONS_TOGETHER,
        **asked: Unpack[Asking],
    ) -> list[Answer]:
        """An answer about each of several recordings: what ``ask`` gives for each, computed together.

        Args:
            audios: for each what ``ask`` takes, or what ``listen`` gave. questions: one for all, or one for each.
            together: how many are answered at once. asked: as for ``ask``, but nothing is heard part by part.

        Raises:
            As ``ask``. ParamError: not as many questions as recordings.
        """
        request = ListeningRequest(self.longest_s, asked)
        if request.reach.long == "map":
            raise ParamError("long='map' for several recordings", fix="Ask about each by itself, or leave out long")
        if isinstance(together, bool) or not isinstance(together, int) or not together >= 1:
            raise ParamError(f"together={together!r}", expected="1 or more")
        texts = [questions] * len(audios) if isinstance(questions, str) else list(questions)
        if len(texts) != len(audios):
            raise ParamError(f"{len(texts)} questions for {len(audios)} recordings", expected="one for all or for each")
        for text in texts:
            checked_question(text)
        seeds = request.seeds(len(audios))
        answers: list[Answer] = []
        for first in range(0, len(audios), together):
            rows = slice(first, first + together)
            answers += self._answered_together(audios[rows], texts[rows], seeds[rows], request)
        return answers

    def facts(self, audio: Any, *, sampling_rate: int | None = None, strict: bool = False) -> Facts:
        """What the model says of a recording, in fields: its answer is a form of which only the values are its own, so
        that each field is there whatever the model. No chance is involved.

        Args:
            audio, sampling_rate, strict: as for ``ask``; of a longer recording the beginning is heard.

        Raises:
            AudioError, ParamError: as ``ask``. ConfigError: a vocabulary that cannot spell JSON.
        """
        sound = self.read(audio, sampling_rate=sampling_rate, strict=strict)
        return self.facts_of(self.listen([sound])[0])

    def facts_of(self, listened: Listened) -> Facts:
        """As ``facts``, of what ``listen`` gave."""
        if self._texts is None:
            size = vocabulary_of(self.model)
            self._texts = TokenTexts(self.processor.tokenizer, size, self.model.device)
        row = self.conversation([listened], QUESTION)
        columns = signature_of(row.ids, row.sounds, self._prompts.sound_token)
        form = Form(
            self.model,
            row,
            texts=self._texts,
            tokenizer=self.processor.tokenizer,
            sound_token=self._prompts.sound_token,
            cache=self.prefixes.take(columns),
        )
        facts = filled_in(form, listened.sound.end_s)
        self.prefixes.keep([*columns, *form.written], form.cache)
        return facts

    def read(self, audio: Any, **asked: Unpack[Asking]) -> HeardSound:
        """A recording as ``ask`` would hear it, for ``listen``; arguments and errors as there."""
        request = ListeningRequest(self.longest_s, asked)
        return beginning_of(audio, request.sampling_rate, self.sampling_rate, request.reach)

    def listen(self, sounds: Sequence[HeardSound]) -> list[Listened]:
        """The sounds encoded, those that are not remembered together."""
        recalled = self.sounds.recall([sound.samples for sound in sounds])
        return [Listened(sound, *known) for sound, known in zip(sounds, recalled, strict=True)]

    def forget(self) -> None:
        """Lets go of all sounds and conversations that are remembered."""
        self.sounds.forget()
        self.prefixes.forget()

    # one conversation

    def _answered(
        self,
        sounds: Sequence[Any],
        question: str,
        turns: tuple[Turn, ...],
        request: ListeningRequest,
        seed: int | None,
    ) -> Generator[str, None, Answer]:
        row = self.conversation(sounds, question, turns, seed)
        columns = signature_of(row.ids, row.sounds, self._prompts.sound_token)
        answering = self._answering([row], request, cache=self.prefixes.take(columns))
        stream, said = TokenStream(self.processor.tokenizer), ""
        with closing(answering.steps()) as steps:
            for (token,) in steps:
                new = "" if answering.ends(token) else stream.push(token)
                if new:
                    said += new
                    yield new
        rest = stream.flush()
        if rest:
            yield rest
        (tokens,), (finish,) = answering.tokens(), answering.finishes()
        self.prefixes.keep([*columns, *tokens], answering.cache)
        return self._told(said + rest, question, turns, row, len(tokens), finish, request)

    def _mapped(
        self,
        parts: Iterator[HeardSound],
        question: str,
        turns: tuple[Turn, ...],
        request: ListeningRequest,
    ) -> Generator[str, None, Answer]:
        """Part after part, each in a line with its times."""
        (seed,) = request.seeds(1)
        told: list[tuple[Part, Answer]] = []
        for number, sound in enumerate(parts):
            (listened,) = self.listen([sound])
            if not number and not sound.is_cut:
                return (yield from self._answered([listened], question, turns, request, seed))
            yield f"{chr(10) * bool(number)}{clock(sound.start_s)}-{clock(sound.end_s)}: "
            own = None if seed is None else item_seeds(seed, number + 1)[number]
            answer = yield from self._answered([listened], question, turns, request, own)
            told.append((Part(sound.start_s, sound.end_s, answer.text), answer))
            if answer.finish == "stopped":
                break
        return merged(told, turns, seed)

    # several at once

    def _answered_together(
        self, audios: Sequence[Any], questions: Sequence[str], seeds: Sequence[int | None], request: ListeningRequest
    ) -> list[Answer]:
        each = [self._heard(audio, request) for audio in audios]
        new = [sound for sounds in each for sound in sounds if isinstance(sound, HeardSound)]
        listened = iter(self.listen(new))  # the windows of all of them together
        each = [[next(listened) if isinstance(sound, HeardSound) else sound for sound in sounds] for sounds in each]
        rows = [self.conversation(*asked) for asked in zip(each, questions, [()] * len(each), seeds, strict=True)]
        answering = self._answering(rows, request)
        for _ in answering.steps():
            pass
        answers = zip(questions, rows, answering.tokens(), answering.finishes(), strict=True)
        return [
            self._told(self._text(tokens), question, (), row, len(tokens), finish, request)
            for question, row, tokens, finish in answers
        ]

    # what both need

    def conversation(
        self,
        sounds: Sequence[HeardSound | Listened],
        question: str,
        turns: tuple[Turn, ...] = (),
        seed: int | None = None,
    ) -> Asked:
        """A conversation with its sounds encoded, as it is answered."""
        listened = [sound if isinstance(sound, Listened) else self.listen([sound])[0] for sound in sounds]
        ids = self._prompts.ids(turns, question, [len(one.features) for one in listened])
        return Asked(ids, listened, seed)

    def _answering(
        self, rows: Sequence[Asked], request: ListeningRequest, *, cache: KVCache | None = None
    ) -> Answering:
        return Answering(
            self.model,
            rows,
            self.generation_config(request.settings),
            sound_token=self._prompts.sound_token,
            cache=cache,
            stop_when=request.stop_when,
        )

    def generation_config(self, settings: ListeningSettings) -> GenerationConfig:
        """What a generation goes by: these settings, the checkpoint's own, and the tokens with which an answer ends."""
        config = settings.resolved(self.model.generation_config)
        config.eos_token_id = sorted({*end_tokens(config), self.processor.tokenizer.eos_token_id} - {None})
        return config

    def _heard(self, audio: Any, request: ListeningRequest) -> list[Any]:
        """The sounds of a conversation, read or as they were listened to before."""
        if audio is None:
            return []
        items = audio if _is_several(audio) else [audio]
        return [
            item
            if isinstance(item, (HeardSound, Listened))
            else beginning_of(item, request.sampling_rate, self.sampling_rate, request.reach)
            for item in items
        ]

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _told(
        self,
        text: str,
        question: str,
        turns: tuple[Turn, ...],
        row: Asked,
        tokens: int,
        finish: Finish,
        request: ListeningRequest,
    ) -> Answer:
        dtype = str(self.model.dtype).removeprefix("torch.")
        heard = [listened.sound for listened in row.sounds]
        return Answer(
            text=text,
            question=question,
            history=(*turns, (question, text)),
            seed=row.seed,
            finish=finish,
            tokens=tokens,
            heard_s=sum(sound.end_s - sound.start_s for sound in heard),
            cut_s=sum(sound.total_s - sound.end_s for sound in heard),
            model=self.name,
            parameters={
                "software": f"antiphon {__version__}",
                "dtype": dtype,
                **self._origin,
                **request.settings.record(),
            },
        )


def _is_several(audio: Any) -> bool:
    """Whether a list holds recordings; a list that begins with a number is one recording."""
    return isinstance(audio, (list, tuple)) and not (audio and isinstance(audio[0], numbers.Real))
