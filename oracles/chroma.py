"""What transformers' Melody feature extractor hears, and how torchaudio resamples: writes goldens/chroma.

The extractor needs torchaudio. It runs with transformers from our own environment and, behind it, torchaudio from
audiocraft's: of torchaudio only Python code is used, which is the same beside any build of torch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.extend(map(str, (ROOT / ".oracles" / "audiocraft").glob("lib/python3*/site-packages")))

import sounds  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402
from torchaudio.functional import resample  # noqa: E402
from transformers import MusicgenMelodyFeatureExtractor  # noqa: E402

CLEAR = 1e-3  # how far apart the two strongest classes of a frame must be
RATES_HZ = (8000, 11025, 22050, 24000, 44100, 48000, 96000)
EXCERPT = 48  # samples, from either end

# name: rate, shape of the sound, settings of the call; the reference takes tensors at other rates than its own
CASES: dict[str, tuple[int, tuple[int, ...], dict[str, Any]]] = {
    "mono": (32000, (1, 100_000), {}),
    "batch_of_mono": (32000, (2, 90_000), {}),
    "batch_of_stereo": (44100, (2, 2, 150_000), {}),
    "stems": (44100, (2, 4, 2, 120_000), {}),
    "stems_without_a_rate": (44000, (1, 4, 2, 90_000), {"sampling_rate": None}),
    "longer_than_it_counts": (32000, (1, 1_000_000), {}),
    "all_of_it": (32000, (1, 1_000_000), {"truncation": False}),
    "shorter_than_a_frame": (32000, (1, 9000), {}),
    "filled_up": (32000, (1, 100_000), {"padding": "max_length", "return_attention_mask": True}),
    "of_multiples": (22050, (1, 60_000), {"pad_to_multiple_of": 7000, "return_attention_mask": True}),
    "cut": (48000, (1, 200_000), {"max_length": 50_000}),
    **{f"at_{rate_hz}_hz": (rate_hz, (1, 3 * rate_hz), {}) for rate_hz in RATES_HZ},
}


def sound(rate_hz: int, shape: tuple[int, ...]) -> Tensor:
    """The sound of a case: another tune in each row."""
    rows = int(torch.tensor(shape[:-1]).prod())
    tunes = [sounds.melody(shape[-1], rate_hz, first=8 * row) for row in range(rows)]
    return torch.stack([torch.from_numpy(tune) for tune in tunes]).reshape(shape)


class Watched(MusicgenMelodyFeatureExtractor):
    """Remembers how close the two strongest classes of a frame that is not silent ever came."""

    closest = float("inf")

    def _torch_extract_fbank_features(self, waveform: Tensor) -> Tensor:
        missing = max(0, self.n_fft - waveform.shape[-1])
        heard = torch.nn.functional.pad(waveform, (missing // 2, missing - missing // 2))
        raw = (self.chroma_filters @ self.spectrogram(heard)).transpose(-1, -2)
        strengths = raw / raw.amax(-1, keepdim=True).clamp(min=1e-6)
        best = strengths[raw.amax(-1) > 1e-6].topk(2).values
        self.closest = min(self.closest, float((best[:, 0] - best[:, 1]).min()))
        return super()._torch_extract_fbank_features(waveform)


def main() -> None:
    """Writes what was heard in every case, and excerpts of resampled noise."""
    extractor, tensors = Watched(), {}
    for name, (rate_hz, shape, settings) in CASES.items():
        features = extractor(sound(rate_hz, shape), **{"sampling_rate": rate_hz, **settings})
        tensors[f"classes.{name}"] = features["input_features"].argmax(-1).to(torch.uint8)
        if "attention_mask" in features:
            tensors[f"mask.{name}"] = features["attention_mask"].to(torch.uint8).contiguous()
    if not extractor.closest >= CLEAR:
        raise SystemExit(f"two classes are only {extractor.closest:.1e} apart: choose other tunes")
    for rate_hz in RATES_HZ:
        noise = torch.from_numpy(sounds.noise(2, rate_hz // 5))
        # in float64: in float32 its filters are rounded while they are made
        exact = resample(noise.double(), rate_hz, 32000, rolloff=0.945, lowpass_filter_width=24)
        rounded = resample(noise, rate_hz, 32000, rolloff=0.945, lowpass_filter_width=24)
        ends = torch.cat([exact[:, :EXCERPT], exact[:, -EXCERPT:]], dim=1)
        tensors[f"resampled.{rate_hz}"] = ends.float()
        print(f"{rate_hz} Hz: float32 is off by {float((exact - rounded).abs().max()):.1e}")
    used = torch.cat([classes.flatten() for name, classes in tensors.items() if name.startswith("classes.")]).unique()
    print(f"{len(CASES)} cases, {len(used)} classes, closest {extractor.closest:.1e}")
    settings = MusicgenMelodyFeatureExtractor().to_dict()
    about = {"cases": CASES, "closest": round(extractor.closest, 5), "settings": settings}
    # one text: a file with several has them in another order every time
    save_file(tensors, ROOT / "oracles" / "goldens" / "chroma.safetensors", metadata={"about": json.dumps(about)})


if __name__ == "__main__":
    main()
