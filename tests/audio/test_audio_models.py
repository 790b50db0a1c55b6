"""A trained model of sounds outside its run: normalisation comes along, and `eval` and `embed` see what training saw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from test_audio_training import train, weights

import worldjepa
from modalities.audio.data import Sounds
from modalities.audio.tokenizer import Patches
from worldjepa.cli import main
from worldjepa.errors import UserError
from worldjepa.interop import Pretrained
from worldjepa.interop.view import of_file as view_of_file

CPU = ["run.accelerator=cpu", "run.threads=1"]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLDJEPA_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        yield


def write(root: Path, count: int, seed: int) -> Path:
    """Recordings of two classes, loud enough that their statistics are far from 0 and 1."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        rate = (16_000, 22_050)[number % 2]
        path = root / f"{'ab'[number % 2]}/{number:02d}.{('wav', 'flac')[number // 2 % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(rate * (1 + number % 3) // 2), rate)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("learnt") / "recordings", 20, 0)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings that no run has seen, and one that cannot be read."""
    root = write(tmp_path_factory.mktemp("others") / "recordings", 11, 1)
    (root / "a/bad.wav").write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a view that is nobody's default."""
    out = tmp_path_factory.mktemp("trained") / "run"
    words = [
        "preset=quickstart_audio",
        "data=sounds",
        f"data.root={folder}",
        "data.front_end=small_16k",
        "data.frames=24",
    ]
    assert train(out, *words, "data.seconds=0.4", "method=m2d", "run.steps=3") == 0
    return out


def tokenizer(model: Pretrained) -> Patches:
    (found,) = (part for part in model.encoder.modules() if isinstance(part, Patches))
    return found


def view(root: Path) -> Sounds:
    return Sounds(str(root), front_end="small_16k", frames=24, seconds=0.4, holdout=0)


def test_normalisation_is_in_checkpoint_and_saved_model(trained: Path, folder: Path, tmp_path: Path) -> None:
    values = torch.cat([view(folder).train().observe(i) for i in range(16)])
    assert float(values.mean()) < -2, "far from what a tokenizer begins with"
    stored = weights(trained)
    model = worldjepa.load(trained)
    again = worldjepa.load(worldjepa.save(model, tmp_path / "saved"))
    for name in ("mean", "std"):
        kept = stored[f"model/target.encoder.tokenizer.{name}"]
        assert kept.shape == (64,)
        assert not torch.equal(kept, getattr(Patches(8, 4, "small_16k"), name))
        assert torch.equal(getattr(tokenizer(model), name), kept)
        assert torch.equal(getattr(tokenizer(again), name), kept)
    seen = view(folder).train()
    fitted = Patches(8, 4, "small_16k")
    fitted.fit(torch.stack([seen.observe(i) for i in range(len(seen))]))
    # All twenty files, of which four were held out from training: nearly the same numbers.
    torch.testing.assert_close(tokenizer(model).mean, fitted.mean, atol=0.5, rtol=0)
    obs = torch.stack([seen.observe(i) for i in range(3)])
    assert torch.equal(again.encode(obs).x, model.encode(obs).x)
    tokenizer(again).mean.zero_()
    assert not torch.allclose(again.encode(obs).x, model.encode(obs).x, atol=1e-2), "it matters"


def test_a_saved_model_takes_waveforms(trained: Path, tmp_path: Path) -> None:
    model = worldjepa.load(worldjepa.save(worldjepa.load(trained), tmp_path / "saved"))
    front = tokenizer(model).front_end
    waves = 0.1 * torch.randn(2, front.samples(24), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.encode(waves).x, model.encode(front(waves)[:, None, :24]).x)


@pytest.mark.parametrize("origin", ["run", "saved"])
def test_embed_sees_a_folder_as_training_did(origin: str, trained: Path, others: Path, tmp_path: Path) -> None:
    model = worldjepa.load(trained)
    place = trained if origin == "run" else worldjepa.save(model, tmp_path / "saved")
    assert model.facts["view"] == {"front_end": "small_16k", "frames": 24, "seconds": 0.4}
    out = tmp_path / "out"
    assert main(["embed", f"checkpoint={place}", f"data.root={others}", f"out={out}", "run.batch_size=4", *CPU]) == 0
    data = view(others).train()
    good = [i for i in range(len(data)) if "bad.wav" not in data.name(i)]
    assert len(good) == 11
    with torch.no_grad():
        expected = torch.stack([model.encode(data.observe(i)[None]).x[0].mean(0) for i in good])
    assert json.loads((out / "names.json").read_text()) == [data.name(i) for i in good]
    np.testing.assert_allclose(np.load(out / "embeddings.npy"), expected.numpy(), atol=1e-5)
    assert json.loads((out / "embed.json").read_text())["unreadable"] == [str(others / "a/bad.wav")]


def test_embed_takes_what_is_said(
    trained: Path, others: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [f"checkpoint={trained}", f"data.root={others}", f"out={tmp_path / 'out'}", *CPU]
    assert main(["embed", *words, "data.frames=40", "data.seconds=null", "pool=patches"]) == 0
    assert np.load(tmp_path / "out/embeddings.npy").shape == (11, 40 // 8 * 8, 24)
    assert main(["embed", *words, "data.front_end=mel_16k"]) == 2
    assert "a sound has the shape (1, frames, 64)" in " ".join(capfd.readouterr().err.split())


def scores(out: Path) -> dict[str, dict[str, float]]:
    found = json.loads(out.read_text())["scores"]
    assert list(found)[:3] == ["chance", "raw input", "untrained encoder"]
    assert found["chance"]["eval/linear_top1"] >= 50
    for name, row in found.items():
        assert "eval/linear_top1" in row, name
    return found  # type: ignore[no-any-return]


def test_eval_measures_a_run(trained: Path, others: Path, tmp_path: Path) -> None:
    """On its own data, and on others, which it sees the same way: as a saved model does that is given them."""
    saved = worldjepa.save(worldjepa.load(trained), tmp_path / "saved")
    own, other, released = (tmp_path / f"{name}.json" for name in ("own", "other", "released"))
    there = ["data=sounds", f"data.root={others}", "probe.enabled=true"]
    assert main(["eval", f"checkpoint={trained}", there[2], f"out={own}", *CPU]) == 0
    assert "trained encoder (3 steps)" in scores(own)
    assert main(["eval", f"checkpoint={trained}", *there, f"out={other}", *CPU]) == 0
    assert main(["eval", f"checkpoint={saved}", there[1], there[2], f"out={released}", *CPU]) == 0
    assert scores(other)["trained encoder (3 steps)"] == scores(released)["trained encoder"]


def test_a_view_from_a_file_can_say_no_more_than_how_to_look(
    trained: Path, others: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = worldjepa.save(worldjepa.load(trained), tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())

    def embed(name: str, view: object) -> int:
        (folder / "config.json").write_text(json.dumps({**config, "view": view}))
        return main(["embed", f"checkpoint={folder}", f"data.root={others}", f"out={tmp_path / name}", *CPU])

    assert embed("a", {**config["view"], "holdout": 0.9, "root": "elsewhere"}) == 0
    assert np.load(tmp_path / "a/embeddings.npy").shape == (11, 24), "only what the modality names"
    assert embed("b", {"front_end": "${oc.env:HOME}"}) == 2
    assert "'view' in its config.json must hold plain values" in capfd.readouterr().err
    assert not (tmp_path / "b").exists()
    assert embed("c", None) == 2, "the default view is another front end's"


@pytest.mark.parametrize(
    "strange", [{"frames": [1]}, {"a=b": 1}, ["frames"], {"x": "a b"}, {"x": "a,b"}, {f"k{i}": 1 for i in range(33)}]
)
def test_views_that_are_none(strange: object) -> None:
    with pytest.raises(UserError, match=r"here: 'view' in its config\.json must hold plain values"):
        view_of_file(strange, "here")
    assert view_of_file(None, "here") == {}
