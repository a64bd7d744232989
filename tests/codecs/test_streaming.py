"""Streaming EnCodec: however codes or samples are cut, the pieces joined are what the whole gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from antiphon.codecs.encodec import EncodecCodec
from antiphon.codecs.seanet import SEANetShape
from antiphon.codecs.streaming import EncodecDecoderStream, EncodecEncoderStream
from antiphon.errors import ParamError, SessionError
from antiphon.nn.conv import Conv1d
from antiphon.nn.transposed_conv import ConvTranspose1d

BOOKS, SIZE = 3, 16

# The published ratios and kernels, with few filters.
KINDS: dict[str, dict[str, Any]] = {
    "24 kHz": {"ratios": (8, 5, 4, 2), "causal": True, "shortcut_conv": True},
    "32 kHz": {"ratios": (8, 5, 4, 4), "causal": False},
    "small causal": {"ratios": (3, 2), "causal": True, "lstm_layers": 1, "residual_layers": 2},
    "small centred": {"ratios": (4, 3), "causal": False, "lstm_layers": 1, "residual_layers": 2},
    "constant": {"ratios": (4, 3), "causal": False, "pad_mode": "constant"},
    "replicate": {"ratios": (5, 2), "causal": False, "pad_mode": "replicate", "lstm_layers": 0},
    "causal constant, no LSTM": {"ratios": (4, 2), "causal": True, "pad_mode": "constant", "lstm_layers": 0},
    "trimmed on the left": {"ratios": (4, 3), "causal": True, "trim_right_ratio": 0.5},
    "hop 1, wide kernels": {"ratios": (1,), "causal": False, "kernel": 9, "residual_kernel": 5, "lstm_layers": 0},
}
PUBLISHED = ["24 kHz", "32 kHz"]
FEW = settings(max_examples=12, deadline=None, derandomize=True)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_codes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, SIZE, shape, generator=torch.Generator().manual_seed(seed))


@lru_cache
def made(kind: str, dtype: torch.dtype = torch.float32, **options: Any) -> EncodecCodec:
    torch.manual_seed(0)
    shape = SEANetShape(**{"channels": 1, "width": 6, "filters": 2, **KINDS[kind], **options})
    codec = EncodecCodec(shape, codebooks=BOOKS, codebook_size=SIZE, normalise=False)
    for layer in codec.modules():
        if isinstance(layer, (Conv1d, ConvTranspose1d)):
            layer.initialise()
    for number, book in enumerate(codec.quantizer.codebooks):
        book.vectors.copy_(noise(SIZE, 6, seed=number))
    # random weights amplify: bring sound and latents to the level of music, for which the tolerances are meant
    for net, x in ((codec.decoder, noise(1, 6, 200)), (codec.encoder, noise(1, 1, 200 * codec.decoder.hop_samples))):
        last = net.layers[-1]
        with torch.no_grad():
            level = net(x).abs().max()
            last.bias /= level
            (last.magnitude if last.normed else last.weight).div_(level)
    return codec.to(dtype).eval()


def decoded(codec: EncodecCodec, codes: Tensor) -> Tensor:
    return codec.decode(codes[None], [None], segment=None, stride=None).detach()  # with gradients: the whole at once


def latents(codec: EncodecCodec, sound: Tensor) -> Tensor:
    return codec.encoder(sound).detach()


def encoded(codec: EncodecCodec, sound: Tensor) -> Tensor:
    return codec.quantizer.encode(latents(codec, sound), BOOKS)


def cut(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """``x`` in pieces of these sizes over and over, which must not all be 0."""
    pieces, start, turn = [], 0, 0
    while start < x.shape[-1]:
        size = sizes[turn % len(sizes)]
        pieces.append(x[..., start : start + size])
        start, turn = start + size, turn + 1
    return pieces


def streamed(stream: Any, pieces: Sequence[Tensor]) -> Tensor:
    return torch.cat([*(stream.push(piece) for piece in pieces), stream.flush()], dim=-1)


def chunkings(largest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, largest), min_size=1, max_size=6).filter(any)


def assert_same_codes(codec: EncodecCodec, sound: Tensor, ours: Tensor, theirs: Tensor) -> None:
    """Equal, or at the first codebook that differs two codewords are as near as rounding can tell."""
    assert ours.shape == theirs.shape
    left = latents(codec, sound).double()
    for book, a, b in zip(codec.quantizer.codebooks, ours.unbind(1), theirs.unbind(1), strict=False):
        vectors = book.vectors.double()
        distances = [(left - vectors[index].transpose(1, 2)).norm(dim=1) for index in (a, b)]
        assert (distances[0] - distances[1]).abs().max().item() < 1e-4
        left = left - vectors[b].transpose(1, 2)
        left = torch.where((a == b)[:, None], left, torch.zeros_like(left))  # a frame that has differed may go on to
    assert (ours != theirs).float().mean().item() < 0.01


# the whole, however it is cut


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(frames=st.integers(1, 200), sizes=chunkings(40), seed=st.integers(0, 99))
def test_sound_in_pieces_is_the_sound_of_the_whole(kind: str, frames: int, sizes: list[int], seed: int) -> None:
    codec, codes = made(kind), some_codes(2, BOOKS, frames, seed=seed)
    ours = streamed(EncodecDecoderStream(codec, batch=2), cut(codes, sizes))
    torch.testing.assert_close(ours, decoded(codec, codes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(data=st.data(), frames=st.integers(1, 40), seed=st.integers(0, 99))
def test_codes_in_pieces_are_the_codes_of_the_whole(kind: str, data: Any, frames: int, seed: int) -> None:
    codec = made(kind)
    hop = codec.decoder.hop_samples
    sound = noise(2, 1, data.draw(st.integers(max(1, (frames - 1) * hop), frames * hop)), seed=seed)
    pieces = cut(sound, data.draw(chunkings(3 * hop)))
    if len(pieces) > 400:
        pieces = cut(sound, [hop // 2 + 1])
    ours = streamed(EncodecEncoderStream(codec, BOOKS, batch=2), pieces)
    assert_same_codes(codec, sound, ours, encoded(codec, sound))


@pytest.mark.parametrize("kind", KINDS)
def test_every_short_length_comes_out_as_offline(kind: str) -> None:
    codec = made(kind)
    hop = codec.decoder.hop_samples
    decoder, encoder = EncodecDecoderStream(codec), EncodecEncoderStream(codec, BOOKS)
    for frames in range(1, 16):
        codes = some_codes(1, BOOKS, frames, seed=frames)
        decoder.reset()
        ours = streamed(decoder, cut(codes, [1]))
        torch.testing.assert_close(ours, decoded(codec, codes), atol=1e-5, rtol=0)
    for samples in {*range(1, 24), hop - 1, hop, hop + 1, 2 * hop, 3 * hop + 1, 5 * hop - 1} - {0}:
        sound = noise(1, 1, samples, seed=samples)
        encoder.reset()
        ours = streamed(encoder, cut(sound, [max(1, samples // 7)]))
        assert_same_codes(codec, sound, ours, encoded(codec, sound))


@pytest.mark.parametrize("kind", PUBLISHED)
def test_much_at_once_and_then_little_is_still_the_whole(kind: str) -> None:
    codec, codes = made(kind), some_codes(1, BOOKS, 170)
    ours = streamed(EncodecDecoderStream(codec), cut(codes, [120, 3, 47]))
    torch.testing.assert_close(ours, decoded(codec, codes), atol=1e-5, rtol=0)
    sound = noise(1, 1, 170 * codec.decoder.hop_samples - 5)
    ours = streamed(EncodecEncoderStream(codec, BOOKS), cut(sound, [90_000, 7, 50_001]))
    assert_same_codes(codec, sound, ours, encoded(codec, sound))


@pytest.mark.parametrize("kind", KINDS)
def test_latents_in_pieces_are_those_of_the_whole(kind: str) -> None:
    net, hop = made(kind).encoder, made(kind).decoder.hop_samples
    sound = noise(2, 1, 17 * hop + 3)
    for size in (1 + hop // 3, hop, 4 * hop + 1):
        with torch.no_grad():
            state = net.state(2)
            pieces = [net.push(piece, state, last=False) for piece in cut(sound, [size])]
            ours = torch.cat([*pieces, net.push(sound[..., :0], state, last=True)], dim=-1)
        torch.testing.assert_close(ours, latents(made(kind), sound), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_in_double_precision_pieces_are_exact(kind: str) -> None:
    codec = made(kind, torch.float64)
    codes = some_codes(1, BOOKS, 120)
    ours = streamed(EncodecDecoderStream(codec), cut(codes, [1, 0, 7, 2, 30]))
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, decoded(codec, codes), atol=1e-10, rtol=0)
    net, sound = codec.encoder, noise(1, 1, 9_001).double()
    with torch.no_grad():
        state = net.state(1)
        pieces = [net.push(piece, state, last=False) for piece in cut(sound, [1, 0, 700, 333])]
        ours = torch.cat([*pieces, net.push(sound[..., :0], state, last=True)], dim=-1)
    torch.testing.assert_close(ours, latents(codec, sound), atol=1e-10, rtol=0)
    assert torch.equal(streamed(EncodecEncoderStream(codec, BOOKS), cut(sound, [999])), encoded(codec, sound))


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_any_number_of_recurrent_layers_carries_its_state(layers: int, causal: bool) -> None:
    codec = made("small centred", causal=causal, lstm_layers=layers)
    codes = some_codes(1, BOOKS, 90)
    ours = streamed(EncodecDecoderStream(codec), cut(codes, [1, 5, 13]))
    torch.testing.assert_close(ours, decoded(codec, codes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_join_is_no_worse_than_any_other_place(kind: str) -> None:
    """A click would be a difference to the offline sound, or a jump, where one piece ends and the next begins."""
    codec, codes = made(kind), some_codes(1, BOOKS, 150)
    stream, pieces = EncodecDecoderStream(codec), []
    for piece in cut(codes, [7]):
        pieces.append(stream.push(piece))
    pieces.append(stream.flush())
    ours, theirs = torch.cat(pieces, dim=-1)[0, 0], decoded(codec, codes)[0, 0]
    ends = torch.tensor([piece.shape[-1] for piece in pieces[:-1]]).cumsum(0)
    ends = ends[(ends > 0) & (ends < len(ours))]
    at_join = torch.zeros(len(ours), dtype=torch.bool)
    at_join[(ends[:, None] + torch.arange(-2, 2)).flatten().clamp(max=len(ours) - 1)] = True
    off = (ours - theirs).abs()
    assert off[at_join].max() <= off[~at_join].max() + 1e-5
    jumps = (ours.diff() - theirs.diff()).abs()
    assert jumps[at_join[1:]].max() <= jumps[~at_join[1:]].max() + 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3])
def test_without_gradients_the_whole_is_pieces_in_a_row(kind: str, batch: int) -> None:
    codec = made(kind)
    for frames in (1, 24, 25, 26, 251, 530):
        codes = some_codes(batch, BOOKS, frames, seed=frames)
        sound = noise(batch, 1, max(1, frames * codec.decoder.hop_samples - 1), seed=frames)
        with torch.no_grad():
            ours = codec.decode(codes[None], [None], segment=None, stride=None)
            encoder_latents = codec.encoder(sound)
        assert not ours.requires_grad
        torch.testing.assert_close(ours, decoded(codec, codes), atol=1e-5, rtol=0)
        torch.testing.assert_close(encoder_latents, latents(codec, sound), atol=1e-5, rtol=0)


class LargestTensors(TorchDispatchMode):
    """Notes the sizes of the tensors that operations make, in numbers held."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, Tensor):
                self.sizes.add(tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


def test_ten_minutes_need_no_more_memory_than_one_but_for_what_goes_in_and_comes_out() -> None:
    codec, largest = made("32 kHz"), []
    for frames in (750, 7500):  # of 640 samples, at 8 kHz
        sound, samples = noise(1, 1, frames * 640), frames * 640
        with torch.no_grad(), LargestTensors() as on_the_way:
            latent = codec.encoder(sound)
            decoded = codec.decoder(latent)
        assert (decoded.shape, latent.shape) == ((1, 1, samples), (1, 6, frames))
        assert decoded.isfinite().all()
        largest.append(max(on_the_way.sizes - {samples, frames * 6}))
        if frames == 750:
            torch.testing.assert_close(latent, latents(codec, sound), atol=1e-5, rtol=0)
            torch.testing.assert_close(decoded, codec.decoder.layers(latent).detach(), atol=1e-5, rtol=0)
    assert largest[0] == largest[1] < 200_000


# what is final when


@pytest.mark.parametrize(
    ("kind", "lookahead", "startup", "samples"),
    [("24 kHz", 0, 7, 0), ("32 kHz", 4, 4, 2402)],
)
def test_sound_waits_for_the_frames_it_needs_and_for_no_other(
    kind: str, lookahead: int, startup: int, samples: int
) -> None:
    codec = made(kind, torch.float64)
    stream = EncodecDecoderStream(codec)
    assert (stream.lookahead_frames, stream.startup_frames) == (lookahead, startup)
    codes = some_codes(1, BOOKS, 60)
    changed = codes.clone()
    changed[..., 30:] = (codes[..., 30:] + 5) % SIZE
    emitted = stream.push(codes[..., :30]).shape[-1]
    assert emitted == 30 * stream.hop_samples - samples
    ways = [decoded(codec, which)[0, 0] for which in (codes, changed)]
    torch.testing.assert_close(ways[0][:emitted], ways[1][:emitted], atol=1e-12, rtol=0)
    # the very next sample hears the next frame, so that nothing is held back for longer than it must be
    assert (ways[0][emitted] - ways[1][emitted]).abs() > 1e-12
    frame = 30 - lookahead  # its sound would be wrong with one frame of look-ahead less
    last = slice(frame * stream.hop_samples, (frame + 1) * stream.hop_samples)
    assert (ways[0][last] - ways[1][last]).abs().max() > 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_codes_wait_for_the_samples_they_need_and_for_no_other(kind: str) -> None:
    codec = made(kind, torch.float64)
    stream = EncodecEncoderStream(codec, BOOKS)
    hop, frames = stream.hop_samples, 40
    seen = frames * hop + stream.lookahead_samples
    sound = noise(1, 1, seen + 5 * hop).double()
    changed = sound.clone()
    changed[..., seen - 1 :] += 1
    ways = [latents(codec, which) for which in (sound, changed)]
    assert stream.push(sound[..., : seen - 1]).shape[-1] == frames - 1
    assert stream.push(sound[..., seen - 1 : seen]).shape[-1] == 1
    torch.testing.assert_close(ways[0][..., : frames - 1], ways[1][..., : frames - 1], atol=1e-12, rtol=0)
    assert (ways[0] - ways[1])[..., frames - 1].abs().max() > 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_output_comes_when_it_is_announced(kind: str) -> None:
    codec = made(kind)
    decoder, encoder = EncodecDecoderStream(codec), EncodecEncoderStream(codec, BOOKS)
    codes, sound = some_codes(1, BOOKS, decoder.startup_frames), noise(1, 1, encoder.startup_samples)
    assert decoder.push(codes[..., :-1]).shape == (1, 1, 0)
    assert decoder.push(codes[..., -1:]).shape[-1] > 0
    assert encoder.push(sound[..., :-1]).shape == (1, BOOKS, 0)
    assert encoder.push(sound[..., -1:]).shape[-1] > 0


@pytest.mark.parametrize("kind", PUBLISHED)
def test_what_came_out_holds_for_every_future(kind: str) -> None:
    codec, codes = made(kind), some_codes(1, BOOKS, 100)
    stream = EncodecDecoderStream(codec)
    early = torch.cat([stream.push(piece) for piece in cut(codes[..., :40], [9])], dim=-1)
    for length in (40, 41, 43, 60, 100):
        for seed in (0, 1):
            future = torch.cat([codes[..., :40], some_codes(1, BOOKS, 100, seed=seed)[..., 40:length]], dim=-1)
            whole = decoded(codec, future)
            torch.testing.assert_close(early, whole[..., : early.shape[-1]], atol=1e-5, rtol=0)


# streams as objects


@pytest.mark.parametrize("kind", PUBLISHED)
def test_what_a_decoder_remembers_does_not_grow(kind: str) -> None:
    codec, stream = made(kind), EncodecDecoderStream(made(kind))
    codes = some_codes(1, BOOKS, 1)
    sizes = set()
    for number in range(2000):
        stream.push(codes)
        if number >= 20:
            sizes.add(stream.state_bytes)
    assert len(sizes) == 1
    assert sizes.pop() < 64 * 1024
    assert codec.decoder.ready(2000) == 2000 * stream.hop_samples - (0 if kind == "24 kHz" else 2402)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_what_an_encoder_remembers_stays_within_bounds(kind: str) -> None:
    """It depends on where in a frame a piece ends, not on how much has passed."""
    stream = EncodecEncoderStream(made(kind), BOOKS)
    early = []
    for number in range(400):
        stream.push(noise(1, 1, 96, seed=number))
        early.append(stream.state_bytes)
    stream.push(noise(1, 1, 100_000))
    late = [stream.state_bytes]
    for number in range(400):
        stream.push(noise(1, 1, 97, seed=number))
        late.append(stream.state_bytes)
    assert max(late) <= 1.1 * max(early[200:]) < 64 * 1024


def test_two_streams_of_one_codec_do_not_mix() -> None:
    codec = made("32 kHz")
    ways = [some_codes(1, BOOKS, 50, seed=seed) for seed in (1, 2)]
    streams = [EncodecDecoderStream(codec) for _ in ways]
    parts: list[list[Tensor]] = [[], []]
    for pair in zip(cut(ways[0], [3]), cut(ways[1], [3]), strict=True):
        for part, stream, piece in zip(parts, streams, pair, strict=True):
            part.append(stream.push(piece))
    for part, stream, codes in zip(parts, streams, ways, strict=True):
        alone = streamed(EncodecDecoderStream(codec), cut(codes, [3]))
        assert torch.equal(torch.cat([*part, stream.flush()], dim=-1), alone)


def test_a_row_is_what_it_is_alone() -> None:
    codec, codes = made("32 kHz"), some_codes(3, BOOKS, 40)
    together = streamed(EncodecDecoderStream(codec, batch=3), cut(codes, [7]))
    for row in range(3):
        alone = streamed(EncodecDecoderStream(codec), cut(codes[row : row + 1], [7]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("make", "feed"),
    [
        (lambda codec: EncodecDecoderStream(codec), some_codes(1, BOOKS, 20)),
        (lambda codec: EncodecEncoderStream(codec, BOOKS), noise(1, 1, 200)),
    ],
    ids=["decoder", "encoder"],
)
class TestLife:
    """From the first piece to the end, and again."""

    def test_after_the_end_only_a_reset_helps(self, make: Callable[[EncodecCodec], Any], feed: Tensor) -> None:
        stream = make(made("small centred"))
        first = streamed(stream, cut(feed, [3]))
        with pytest.raises(SessionError, match=r"the stream has ended.*reset"):
            stream.push(feed)
        with pytest.raises(SessionError, match="the stream has ended"):
            stream.flush()
        stream.reset()
        assert torch.equal(streamed(stream, cut(feed, [3])), first)

    def test_a_reset_half_way_forgets_everything(self, make: Callable[[EncodecCodec], Any], feed: Tensor) -> None:
        stream = make(made("small centred"))
        stream.push(feed.flip(-1))
        stream.reset()
        assert torch.equal(streamed(stream, [feed]), streamed(make(made("small centred")), [feed]))

    def test_an_end_without_a_beginning_is_empty(self, make: Callable[[EncodecCodec], Any], feed: Tensor) -> None:
        stream = make(made("small centred"))
        assert stream.push(feed[..., :0]).shape[-1] == 0
        assert stream.flush().shape[-1] == 0

    def test_the_callers_tensors_are_neither_kept_nor_changed(
        self, make: Callable[[EncodecCodec], Any], feed: Tensor
    ) -> None:
        stream, given = make(made("small centred")), feed.clone()
        pieces = []
        for piece in cut(given, [3]):
            pieces.append(stream.push(piece))
            piece.zero_()  # a caller may use its buffer again
        again = streamed(make(made("small centred")), cut(feed, [3]))
        assert torch.equal(torch.cat([*pieces, stream.flush()], dim=-1), again)

    def test_a_failure_half_way_asks_for_a_reset(
        self, make: Callable[[EncodecCodec], Any], feed: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        codec = made("small centred")
        stream = make(codec)
        with monkeypatch.context() as patched:
            patched.setattr(torch.nn.functional, "elu", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                stream.push(feed)
        with pytest.raises(SessionError, match="reset"):
            stream.push(feed)
        stream.reset()
        assert torch.equal(streamed(stream, [feed]), streamed(make(codec), [feed]))


def test_no_gradient_hangs_on_what_comes_out() -> None:
    assert not EncodecDecoderStream(made("32 kHz")).push(some_codes(1, BOOKS, 20)).requires_grad


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (torch.zeros(1, BOOKS, 2), "dtype torch.float32"),
        (torch.full((1, BOOKS, 2), SIZE), f"codes between {SIZE} and {SIZE}"),
        (torch.zeros(2, BOOKS, 2, dtype=torch.long), r"shape \(2, 3, 2\). Expected \(1, 3, frames\)"),
        (torch.zeros(1, 2, 2, dtype=torch.long), r"shape \(1, 2, 2\). Expected \(1, 3, frames\)"),
        (torch.zeros(BOOKS, 2, dtype=torch.long), r"shape \(3, 2\)"),
    ],
)
def test_refused_codes_leave_the_stream_as_it_was(codes: Tensor, said: str) -> None:
    stream, good = EncodecDecoderStream(made("32 kHz")), some_codes(1, BOOKS, 20)
    first = stream.push(good[..., :10])
    with pytest.raises(ParamError, match=said):
        stream.push(codes)
    ours = torch.cat([first, stream.push(good[..., 10:]), stream.flush()], dim=-1)
    torch.testing.assert_close(ours, decoded(made("32 kHz"), good), atol=1e-5, rtol=0)


@pytest.mark.parametrize("codes", [torch.zeros(1, 0, 2, dtype=torch.long), torch.zeros(1, 4, 2, dtype=torch.long)])
def test_no_codebook_and_too_many_are_refused(codes: Tensor) -> None:
    with pytest.raises(ParamError, match="codes of shape"):
        EncodecDecoderStream(made("32 kHz")).push(codes)


@pytest.mark.parametrize(
    "samples", [noise(1, 2, 9), noise(2, 1, 9), noise(1, 9), torch.zeros(1, 1, 9, dtype=torch.int16)]
)
def test_samples_of_another_form_are_refused(samples: Tensor) -> None:
    with pytest.raises(ParamError, match=r"samples of shape .*Expected \(1, 1, samples\), floating point"):
        EncodecEncoderStream(made("24 kHz"), BOOKS).push(samples)


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ParamError, match="batch=0"):
        EncodecDecoderStream(made("24 kHz"), batch=0)
    for codebooks in (0, BOOKS + 1):
        with pytest.raises(ParamError, match=f"codebooks={codebooks}. Expected 1 to {BOOKS}"):
            EncodecEncoderStream(made("24 kHz"), codebooks)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_codes_of_any_integer_type_are_taken(dtype: torch.dtype) -> None:
    codec, codes = made("24 kHz"), some_codes(1, BOOKS, 12)
    ours = streamed(EncodecDecoderStream(codec), [codes.to(dtype)])
    torch.testing.assert_close(ours, decoded(codec, codes), atol=1e-5, rtol=0)


def test_a_codec_that_normalises_over_segments_is_refused_by_name() -> None:
    codec = made("32 kHz", norm="time_group_norm")
    for make in (lambda: EncodecDecoderStream(codec), lambda: EncodecEncoderStream(codec, BOOKS)):
        with pytest.raises(ParamError, match="EncodecSegmentDecoderStream"):
            make()
