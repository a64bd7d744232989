"""One measurement of one library: a documented script, run in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from antiphon.errors import SessionError

# The same text for every library that has the documented classes; only the name in its import line differs.
SCRIPT = '''
import json, sys, time

import torch
import LIBRARY as library

asked = json.loads(sys.argv[1])
name = {
    "musicgen": "MusicgenForConditionalGeneration",
    "musicgen_melody": "MusicgenMelodyForConditionalGeneration",
}[library.AutoConfig.from_pretrained(asked["model"]).model_type]
model_class = getattr(library, name)  # imported before anything is timed


def memory_mib(name):
    """What this process holds now (VmRSS) or held at most (VmHWM); None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))
    except OSError:
        return None


def forget_peak():
    """Lets the peak begin anew; says whether the system can."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        return True
    except OSError:
        return False


torch.set_num_threads(asked["threads"])
torch.manual_seed(0)
begun = time.perf_counter()
model = model_class.from_pretrained(asked["model"], **asked["loading"])
found = {"load_s": time.perf_counter() - begun}
codec = model.config.audio_encoder
tokens = torch.randint(3, model.config.text_encoder.vocab_size, (1, 16))
call = {
    "input_ids": tokens,
    "attention_mask": torch.ones_like(tokens),
    "do_sample": True,
    "top_k": 250,
    "guidance_scale": 3.0,
    **asked["calling"],
}
if hasattr(model.config, "chroma_length"):  # a melody: what it is changes no cost
    pitches = torch.randint(model.config.num_chroma, (1, model.config.chroma_length))
    call["input_features"] = torch.nn.functional.one_hot(pitches, model.config.num_chroma).to(model.dtype)
if asked["steps"]:
    model.generate(**call, max_new_tokens=8)  # pays for what is made once
    decode, decoding = model.audio_encoder.decode, []

    def decode_and_tell(*args, **kwargs):
        decoding.append(time.perf_counter())
        return decode(*args, **kwargs)

    steps = []

    class Clock:  # both libraries ask it once a step, when the scores of the next column are there
        def __call__(self, input_ids, scores):
            steps.append(time.perf_counter())
            return scores

    model.audio_encoder.decode = decode_and_tell
    begun = time.perf_counter()
    sound = model.generate(**call, max_new_tokens=asked["steps"], logits_processor=[Clock()])
    found["generate_s"] = time.perf_counter() - begun
    found["ms_per_step"] = 1000 * (decoding[0] - begun) / asked["steps"]
    found["first_column_s"] = steps[0] - begun
    found["ms_per_later_step"] = 1000 * (steps[-1] - steps[0]) / (len(steps) - 1)
    found["sound_s"] = sound.shape[-1] / codec.sampling_rate
    model.audio_encoder.decode = decode
    found["peak_mib"] = memory_mib("VmHWM")
    found["first_sound_s"] = found["generate_s"]
    if hasattr(model, "stream"):
        begun = time.perf_counter()
        pieces = model.stream(**call, max_new_tokens=asked["steps"], chunk_seconds=asked["chunk_s"])
        next(pieces)
        found["first_sound_s"] = time.perf_counter() - begun
        pieces.close()
if asked["codec_s"]:
    codebooks = model.config.decoder.num_codebooks // model.config.decoder.audio_channels
    shape = (1, 1, codebooks, round(asked["codec_s"] * codec.frame_rate))
    codes = torch.randint(codec.codebook_size, shape)
    with torch.no_grad():
        model.audio_encoder.decode(codes[..., :50], [None])
        known, before = forget_peak(), memory_mib("VmRSS")
        begun = time.perf_counter()
        model.audio_encoder.decode(codes, [None])
        found["decode_s"] = time.perf_counter() - begun
        peak = memory_mib("VmHWM")
        found["decode_mib"] = peak - before if known and peak is not None else None
print(json.dumps(found))
'''

# What from_pretrained is told for each way to keep the weights.
LOADING: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
    "int4": {"quantize": "int4"},
}
# What generate is told beside: rounded weights go with a cache in eight bits, as the composer has them.
CALLING: dict[str, dict[str, Any]] = {"int8": {"cache_dtype": "int8"}, "int4": {"cache_dtype": "int8"}}
PEER_KINDS = ("fp32", "bf16")  # what the documented classes have elsewhere without a GPU


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one process is asked to measure.

    Attributes:
        model: a folder. kind: a key of ``LOADING``. threads: of torch. steps: new tokens with guidance, 0 for none.
        chunk_s: length of a stream's first chunk. codec_s: seconds of codes to decode alone, 0 for none.
    """

    model: str
    kind: str = "fp32"
    threads: int = 1
    steps: int = 0
    chunk_s: float = 1.0
    codec_s: float = 0.0


def measure(library: str, request: Request) -> dict[str, Any]:
    """The figures of one process: ``load_s``, and what the request asks for.

    ``ms_per_step`` is the time from the call to the codec's turn over the steps, the text's encoding included;
    ``first_column_s`` is the part of it until the first column, and ``ms_per_later_step`` what each other one takes;
    ``first_sound_s`` is counted from the call to the first chunk of ``stream``, or to the end of ``generate`` in a
    library without it.
    Memory is in MiB, ``None`` where the system does not tell.

    Raises:
        SessionError: the process failed; the last line of what it said is in the message.
    """
    asked = {**asdict(request), "loading": LOADING[request.kind], "calling": CALLING.get(request.kind, {})}
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-c", SCRIPT.replace("LIBRARY", library), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **quiet}, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise SessionError(f"measuring {library} in {request.kind} failed: {said[-1]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
