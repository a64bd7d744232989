"""The wheel: what is in it, and that it works with nothing but the core dependencies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import antiphon

ROOT = Path(__file__).parents[2]

# Everything that an installation without extras does not have.
_ABSENT = {
    "transformers",
    "scipy",
    "pytest",
    "_pytest",
    "hypothesis",
    "matplotlib",
    "PIL",
    "av",
    "mypy",
    "build",
    "hatchling",
    "xdist",
    "ruff",
    "librosa",
    "torchaudio",
}

_SMOKE = """
import sys

target, absent = sys.argv[1], set(sys.argv[2:])
sys.path.insert(0, target)


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
import antiphon

assert antiphon.__file__.startswith(target), antiphon.__file__
for name in antiphon.__all__:
    getattr(antiphon, name)

import torch

config = antiphon.MusicgenDecoderConfig(
    vocab_size=16, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, ffn_dim=64, pad_token_id=16,
    bos_token_id=16,
)
model = antiphon.MusicgenForCausalLM(config).eval()
logits = model(torch.full((4, 3), 16)).logits
assert logits.shape == (4, 3, 16) and torch.isfinite(logits).all()
model.save_pretrained(target + "/model")
again = antiphon.MusicgenForCausalLM.from_pretrained(target + "/model")
assert torch.equal(again.eval()(torch.full((4, 3), 16)).logits, logits)
rounded = antiphon.MusicgenForCausalLM.from_pretrained(target + "/model", quantize="int8")
codes = rounded.generate(max_new_tokens=12, do_sample=False)
assert codes.shape == (1, 4, 9), codes.shape
antiphon.Audio(torch.zeros(1, 800).numpy(), 8000, prompt="silence").save(target + "/a.wav")
print(antiphon.Audio.load(target + "/a.wav"))
"""


def _python(*arguments: str, cwd: Path = ROOT) -> str:
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), ".")
    (built,) = folder.glob("*.whl")
    return built


def test_F135_the_wheel_is_for_every_machine_and_carries_the_version(wheel: Path) -> None:
    assert wheel.name == f"antiphon-{antiphon.__version__}-py3-none-any.whl"


def test_F135_the_wheel_holds_the_package_its_marker_its_licence_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    files = [path for kind in ("*.py", "*.cpp", "*.h") for path in (ROOT / "antiphon").rglob(kind)]
    files += (ROOT / "antiphon" / "built_in").glob("*/*")
    sources = {path.relative_to(ROOT).as_posix() for path in files}
    inside = {name for name in names if name.startswith("antiphon/")}
    assert inside == {*sources, "antiphon/py.typed"}
    about = f"antiphon-{antiphon.__version__}.dist-info/"
    rest = {name.removeprefix(about) for name in names} - inside
    assert rest == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_F135_the_metadata_names_the_ranges_of_the_project_file_and_no_place(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"antiphon-{antiphon.__version__}.dist-info/METADATA").decode()
    metadata = Parser().parsestr(text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = metadata.get_all("Requires-Dist") or []
    named = {re.split(r"[<>=!~; \[]", line)[0].lower().replace("_", "-") for line in required if "extra ==" not in line}
    wanted = {re.split(r"[<>=!~; \[]", line)[0].lower().replace("_", "-") for line in project["dependencies"]}
    assert named == wanted
    assert set(metadata.get_all("Provides-Extra") or []) == set(project["optional-dependencies"])
    assert metadata["License-Expression"] == "Apache-2.0"
    headers = "\n".join(f"{key}: {value}" for key, value in metadata.items())
    assert not re.search(r"file:|://|@ ", headers)


def test_F135_the_wheel_works_with_the_core_dependencies_alone(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    _python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    script = tmp_path / "smoke.py"
    script.write_text(_SMOKE, encoding="utf-8")
    assert _python("-I", str(script), str(target), *_ABSENT, cwd=tmp_path).startswith("Audio(0.10 s, 1 ch, 8000 Hz")
