"""What is done with released weights for clips: embedded, evaluated, trained on; and our own runs on clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from train.toy import tensors

import worldjepa
from interop.clips import (
    DEPTH,
    FRAMES,
    HEADS,
    HIDDEN,
    NARROW,
    PATCH,
    PIXELS,
    SIDE,
    TIMES,
    TOKENS,
    WIDTH,
    clips,
    encoder,
    hf,
    official_names,
    predictor,
    save_official,
    save_vjepa2,
    wrapped,
)
from modalities.video import embedded
from modalities.video.data import Videos
from modalities.video.encode import write_video
from worldjepa.cli import main
from worldjepa.interop.export import export

COUNT = 10
STILL = ("optim.lr=1e-12", "optim.start_lr=1e-12", "optim.final_lr=0", "run.steps=1", "run.save_every=1")


@pytest.fixture(scope="module", autouse=True)
def few(home: Path) -> Iterator[None]:
    """Fewer labelled clips than the embedded set comes with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "PROBE_SIZES", {"train": 40, "val": 16, "test": 16})
        patch.setenv("WORLDJEPA_HOME", str(home.with_name("home of few clips")))
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_official(tmp_path_factory.mktemp("official") / "vitl16.pth.tar")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for i in range(COUNT):
        (root / f"class{i % 2}").mkdir(exist_ok=True)
        drawn = np.random.default_rng(i).integers(40, 200, (12, 32, 32, 3)).astype(np.uint8)
        write_video(root / f"class{i % 2}" / f"{i:02d}.mp4", drawn)
    return root


def begin(out: Path, path: Path, *words: str) -> int:
    """Start from weights for clips and move them by next to nothing."""
    return main(
        [
            *(
                "train",
                "modality=video",
                "data=moving",
                "data.count=16",
                f"data.size={PIXELS}",
                f"data.frames={FRAMES}",
            ),
            *(
                "data.stride=1",
                "data.channels=3",
                "data.decoder=pyav",
                "preset=quickstart_video",
                f"arch.patch={PATCH}",
            ),
            *("run.batch_size=4", "run.accelerator=cpu", "run.threads=1", "run.workers=0", "run.tensorboard=false"),
            *("probe.enabled=false", *STILL, f"run.out={out}", f"run.init_from={path}", *words),
        ]
    )


VJEPA = [
    *("method=vjepa", f"arch.dim={WIDTH}", f"arch.encoder.depth={DEPTH}", f"arch.encoder.heads={HEADS}"),
    *(f"arch.encoder.mlp_ratio={HIDDEN / WIDTH}", f"arch.predictor.dim={NARROW}", f"arch.predictor.depth={DEPTH}"),
    f"arch.predictor.heads={HEADS}",
]
VJEPA2 = [
    *("method=vjepa2", "arch.dim=80", "arch.encoder.depth=2", "arch.encoder.heads=4", "arch.encoder.mlp_ratio=1.35"),
    *("arch.predictor.dim=96", "arch.predictor.depth=2", "arch.predictor.heads=12"),
]
ROPE = "positions=rope_vjepa2"


def test_training_goes_on_from_vjepa(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert begin(tmp_path / "run", file, *VJEPA) == 0
    assert "CC BY-NC 4.0" in capsys.readouterr().err
    found = tensors(tmp_path / "run", "step-00000001")
    for prefix, seed, close in (("encoder", 7, 1e-6), ("target.encoder", 0, 3e-2)):
        for name, value in encoder(seed).items():
            if name != "pos_embed":
                ours = found[f"{prefix}.{name.replace('patch_embed', 'tokenizer')}"]
                torch.testing.assert_close(ours, value, atol=close, rtol=0)
    asked = torch.cat([predictor()[f"mask_tokens.{i}"] for i in range(2)])
    torch.testing.assert_close(found["predictor.mask_token"], asked, atol=1e-6, rtol=0)
    model = worldjepa.load(tmp_path / "run", which="encoder")
    assert model.facts["image"] == (3, FRAMES, PIXELS, PIXELS)
    wanted = worldjepa.load(file, heads=HEADS, which="encoder").encode(clips()).x
    torch.testing.assert_close(model.encode(clips()).x, wanted, atol=1e-4, rtol=0)


def test_training_goes_on_from_vjepa2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = hf()
    theirs.save_pretrained(tmp_path / "hf")
    paths = {"file": save_vjepa2(tmp_path / "vitl.pt", theirs), "folder": tmp_path / "hf"}
    wanted = official_names(theirs)
    for name, path in paths.items():
        assert begin(tmp_path / name, path, *VJEPA2, ROPE) == 0
        assert "first 1 of 4 mask tokens are taken" in capsys.readouterr().out.replace("\n", " ")
        found = tensors(tmp_path / name, "step-00000001")
        for part in ("encoder", "target.encoder"):
            qkv = wanted["encoder"]["blocks.1.attn.qkv.weight"]
            torch.testing.assert_close(found[f"{part}.blocks.1.attn.qkv.weight"], qkv, atol=1e-6, rtol=0)
        torch.testing.assert_close(
            found["predictor.mask_token"], wanted["predictor"]["mask_tokens.0"], atol=1e-6, rtol=0
        )
    assert begin(tmp_path / "all", paths["file"], *VJEPA2, ROPE, "predictor.mask_tokens=4") == 0
    assert len(tensors(tmp_path / "all", "step-00000001")["predictor.mask_token"]) == 4


def test_positions_must_be_told_alike(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = save_vjepa2(tmp_path / "vitl.pt", hf())
    assert begin(tmp_path / "run", other, *VJEPA2) == 2
    told = capsys.readouterr().err
    assert "positions by Rotary(axes=thw, tiled=True), this model by Rotary(axes=thw, tiled=False)" in told
    assert "choose positions=rope_vjepa2" in told
    assert begin(tmp_path / "run", other, *VJEPA2, "positions=sincos") == 2
    assert "this model by SinCos(axes=thw)" in capsys.readouterr().err
    code = {**encoder(7), "pos_embed": encoder(7)["pos_embed"] + 6e-3}
    strange = save_official(tmp_path / "strange.pt", encoder=wrapped(code))
    assert begin(tmp_path / "run", strange, *VJEPA) == 2
    told = capsys.readouterr().err
    stored = f"{{_target_: worldjepa.nn.volume.Volume, times: {TIMES}, height: {SIDE}, width: {SIDE}, dim: {WIDTH}}}"
    assert f"give the model a stored one: arch.encoder.positions={stored}" in told
    assert begin(tmp_path / "run", file, *VJEPA, "method=vjepa2", "arch.encoder.heads=2", "arch.predictor.heads=2") == 2
    assert "is not the sine-cosine code that this model computes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert begin(tmp_path / "run", strange, *VJEPA, f"arch.encoder.positions={stored}") == 0
    assert torch.equal(tensors(tmp_path / "run", "step-00000001")["encoder.positions.table"], code["pos_embed"][0])


def test_our_own_runs_go_to_transformers(tmp_path: Path) -> None:
    from transformers import VJEPA2Model

    assert begin(tmp_path / "run", save_vjepa2(tmp_path / "vitl.pt", hf()), *VJEPA2, ROPE) == 0
    assert main(["export", f"checkpoint={tmp_path / 'run'}", "format=hf", f"out={tmp_path / 'hf'}"]) == 0
    theirs = VJEPA2Model.from_pretrained(tmp_path / "hf").eval()
    with torch.no_grad():
        out = theirs(clips().transpose(1, 2), skip_predictor=True).last_hidden_state
    torch.testing.assert_close(out, worldjepa.load(tmp_path / "run").encode(clips()).x.detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pool", ["mean", "patches"])
def test_embed(pool: str, file: Path, videos: Path, tmp_path: Path) -> None:
    words = [f"checkpoint={file}", f"heads={HEADS}", f"data.root={videos}", f"out={tmp_path / 'out'}", f"pool={pool}"]
    (videos / "class0" / "bad.mp4").write_bytes(b"broken")
    try:
        assert main(["embed", *words, "run.accelerator=cpu", "run.batch_size=4"]) == 0
    finally:
        (videos / "class0" / "bad.mp4").unlink()
    data = Videos(str(videos), size=PIXELS, frames=FRAMES, holdout=0).train()
    model = worldjepa.load(file, heads=HEADS)
    with torch.no_grad():
        x = torch.cat([model.encode(data.observe(i)[None]).x for i in range(COUNT)])
    found = np.load(tmp_path / "out" / "embeddings.npy")
    assert found.shape == ((COUNT, WIDTH) if pool == "mean" else (COUNT, TOKENS, WIDTH))
    np.testing.assert_allclose(found, (x.mean(1) if pool == "mean" else x).numpy(), atol=1e-5)
    assert json.loads((tmp_path / "out" / "names.json").read_text()) == [data.name(i) for i in range(COUNT)]
    (bad,) = json.loads((tmp_path / "out" / "embed.json").read_text())["unreadable"]
    assert bad.endswith("bad.mp4")


@pytest.mark.parametrize("layout", ["official", "hf"])
def test_eval(layout: str, file: Path, videos: Path, tmp_path: Path) -> None:
    path, heads = file, [f"heads={HEADS}"]
    if layout == "hf":
        model = worldjepa.load(save_vjepa2(tmp_path / "vitl.pt", hf()), heads=HEADS)
        path, heads = export(model, "hf", tmp_path / "hf", size=PIXELS), ["data.frames=4"]
    words = [f"checkpoint={path}", *heads, f"out={tmp_path / 'e.json'}", "run.accelerator=cpu", "run.batch_size=4"]
    assert main(["eval", *words, f"data.root={videos}", "data.holdout=0.4"]) == 0
    scores = json.loads((tmp_path / "e.json").read_text())["scores"]
    assert list(scores) == ["chance", "raw input", "untrained encoder", "trained encoder"]
    assert scores["trained encoder"] != scores["untrained encoder"]


def test_eval_of_the_embedded_clips(file: Path, tmp_path: Path) -> None:
    words = [f"checkpoint={file}", f"heads={HEADS}", "data=moving", "data.count=16", "data.stride=1"]
    assert main(["eval", *words, f"out={tmp_path / 'e.json'}", "run.accelerator=cpu", "probe.enabled=false"]) == 0
    assert set(json.loads((tmp_path / "e.json").read_text())["scores"]["trained encoder"]) == {
        "collapse/rankme",
        "collapse/feature_std",
    }
