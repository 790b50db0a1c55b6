"""Every concrete subclass of every interface keeps its promises. A subclass without a case here fails."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import soundfile
import torch
from layouts import images as tiny
from layouts import sounds as tiny_sounds
from layouts import videos as tiny_videos
from PIL import Image

import modalities.audio
import modalities.image
import modalities.trajectory
import modalities.video
import worldjepa
from modalities.audio.data import (
    ESC50,
    FSD50K,
    GTZAN,
    HEAR,
    AudioSet,
    NSynth,
    Sounds,
    SpeechCommands,
    Textures,
    UrbanSound8K,
    Words,
)
from modalities.audio.files import SoundFiles
from modalities.audio.observations import ArrayObservations as Spectrograms
from modalities.audio.tokenizer import Patches as SoundPatches
from modalities.image import embedded
from modalities.image.ade20k import LabelledPixels
from modalities.image.data import (
    ADE20K,
    CIFAR10,
    CIFAR100,
    CLEVR,
    DAVIS,
    Folder,
    ImageNet,
    INaturalist,
    Manifest,
    NYUDepth,
    Patterns,
    Places205,
    Shapes,
)
from modalities.image.nyu import DepthPictures
from modalities.image.observations import ArrayObservations, ImageFiles
from modalities.image.tokenizer import Patches
from modalities.image.views import Look, Looks
from modalities.trajectory import embedded as rooms_embedded
from modalities.trajectory.data import EpisodeFolder, Recorded, Rooms
from modalities.trajectory.embedded import Stills
from modalities.trajectory.encoders import ConvFrames, PerFrame, StateFrames
from modalities.trajectory.rooms import RoomsEnv
from modalities.trajectory.windows import Windows
from modalities.video import embedded as embedded_clips
from modalities.video.data import (
    Diving48,
    EpicKitchens,
    Jester,
    Kinetics,
    Moving,
    SomethingSomething,
    VideoList,
    Videos,
)
from modalities.video.embedded import Clips
from modalities.video.encode import write_video
from modalities.video.listed import Listed, ListedSource
from modalities.video.observations import SeveralClips, VideoFiles
from modalities.video.segments import Segments
from modalities.video.stills import FrameFolders
from modalities.video.tokenizer import Tubelets
from worldjepa.bench.examples import Held, Joined, Some, States
from worldjepa.boxes import BoxUnion, Several
from worldjepa.causal import CausalViT
from worldjepa.convolutions import ConvDecoder, ConvNet
from worldjepa.distillation import CrossEntropy, Prototypes, Teacher
from worldjepa.encoders import TimmViT, ViT
from worldjepa.ensemble import EnsembleMLP
from worldjepa.future import Future
from worldjepa.interfaces import Encoder
from worldjepa.kept import KeptBlocks
from worldjepa.levels import OwnLatent, SameLatent
from worldjepa.masks import CrossBlock, Curriculum, MultiBlock, MultiBlockOfficial, Quadrants, Random, Whole
from worldjepa.nn.actions import ActionSpec
from worldjepa.nn.positions import SinCos, Table
from worldjepa.nn.rotary import Rotary
from worldjepa.nn.states import StateSpec
from worldjepa.nn.volume import Volume
from worldjepa.objectives import L1, MSE, Cosine, Invariance, SmoothL1, Sum, VarianceCovariance
from worldjepa.over_time import InverseDynamics, TimeSimilarity
from worldjepa.predictors import MaskTokenViT, Projector
from worldjepa.sigreg import SIGReg
from worldjepa.targets import EMA, Frozen, Mutual, Pixels, Shared, TopLayers
from worldjepa.testing import CHECKS, check
from worldjepa.types import Grid, Tokens
from worldjepa.vectors import Recurrent, ResidualMLP
from worldjepa.world.behaviour import Wander
from worldjepa.world.gymnasium import GymEnvironment
from worldjepa.world.record import collect, seeds_of


def bytes_like(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def tokens(batch: int, grid: Grid, dim: int) -> Tokens:
    x = torch.randn(batch, grid.size, dim, generator=torch.Generator().manual_seed(0))
    return Tokens(x, grid.pos().expand(batch, -1, -1))


def vit(**settings: Any) -> ViT:
    return ViT(Patches(4, 16, channels=3), dim=16, depth=2, heads=2, **settings)


def vivit(tiled: bool = False) -> ViT:
    return ViT(Tubelets(4, 24), dim=24, depth=2, heads=2, positions=Rotary("thw", tiled))


def student() -> Prototypes:
    return Prototypes(16, 12, 1, 2, prototypes=10, hidden=12, bottleneck=6)


LOOKS = Looks([Look(blur=1.0), Look(count=2, crop_scale=(0.1, 0.3), solarise=0.5)])


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(256, (20, 24, 3), generator=torch.Generator().manual_seed(hash(name) % 2**31))
        Image.fromarray(pixels.to(torch.uint8).numpy()).save(root / name)


def folder(root: Path, **settings: Any) -> Folder:
    pictures(root, *(f"{kind}/{i}.png" for kind in "ab" for i in range(8)))
    return Folder(str(root), size=8, **settings)


def imagenet(root: Path) -> ImageNet:
    pictures(root, *(f"{split}/{kind}/{i}.png" for split in ("train", "val") for kind in "ab" for i in range(6)))
    return ImageNet(str(root), size=8)


def manifest(root: Path) -> Manifest:
    names = [f"{i}.png" for i in range(16)]
    pictures(root, *names)
    (root / "list.csv").write_text("path,label\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names)))
    return Manifest(str(root / "list.csv"), size=8)


CLIP = {"size": 8, "frames": 2, "stride": 2}


def clips(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / name, bytes_like(5, 20, 24 + 2 * (number % 3)).numpy())


def videos(root: Path, **settings: Any) -> Videos:
    clips(root, *(f"{kind}/{i}.mp4" for kind in "ab" for i in range(6)))
    return Videos(str(root), **CLIP, **settings)


def video_list(root: Path) -> VideoList:
    clips(root, *(f"{i}.mkv" for i in range(8)))
    (root / "train.csv").write_text("".join(f"{i}.mkv {i % 2}\n" for i in range(6)))
    (root / "val.csv").write_text('"6.mkv" 0\n7.mkv 1\n')
    return VideoList(str(root / "train.csv"), str(root / "val.csv"), **CLIP)


def kinetics(root: Path) -> Kinetics:
    for split in ("train", "val"):
        clips(root, *(f"{split}/a b/{split}{i}_000001_000011.mp4" for i in range(5)))
        rows = [f"a b,{split}{i},1,11,{split}" for i in range(3)] + [f"c,{split}{i},1,11,{split}" for i in (3, 4)]
        (root / f"{split}.csv").write_text("label,youtube_id,time_start,time_end,split\n" + "\n".join(rows) + "\n")
    return Kinetics(str(root), **CLIP)


def something(root: Path) -> SomethingSomething:
    clips(root, *(f"20bn-something-something-v2/{i}.mp4" for i in range(8)))
    (root / "labels.json").write_text('{"Holding something": "0", "Moving something up": "1"}')
    for name, ids in (("train", range(5)), ("validation", range(5, 8))):
        templates = ("Holding [something]", "Moving [something] up")
        entries = [{"id": str(i), "template": templates[i % 2]} for i in ids]
        (root / f"{name}.json").write_text(json.dumps(entries))
    return SomethingSomething(str(root), **CLIP)


def listed(root: Path) -> ListedSource:
    clips(root, *(f"{i}.mp4" for i in range(8)))
    parts = [
        Listed(str(root), [f"{i}.mp4" for i in part], ["ab"[i % 2] for i in part]) for part in (range(5), range(5, 8))
    ]
    return ListedSource(*parts, videos(root / "other").reading, None, 0, 0.1)


def moving(root: Path) -> Moving:
    return Moving(size=16, frames=2, length=4, count=10, cache=str(root))


def recordings(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        wave = 0.1 * torch.randn(3_200, generator=torch.Generator().manual_seed(seed))
        soundfile.write(root / name, wave.numpy(), 8_000)


def sounds(root: Path) -> Sounds:
    recordings(root, *(f"{kind}/{i}.wav" for kind in "ab" for i in range(8)))
    return Sounds(str(root), frames=8)


def folds(root: Path, kind: type[ESC50] | type[UrbanSound8K]) -> ESC50 | UrbanSound8K:
    rows = [
        (f"{fold}{label}{i}.wav", str(fold), label) for fold in range(1, kind.folds + 1) for label in "ab" for i in "01"
    ]
    recordings(root, *(kind.path(name, fold) for name, fold, _ in rows))
    (root / kind.table).parent.mkdir()
    (root / kind.table).write_text("\n".join([",".join(kind.columns), *map(",".join, rows)]))
    return kind(str(root), frames=8)


def commands(root: Path) -> SpeechCommands:
    recordings(root, *(f"{word}/{i}_nohash_0.wav" for word in ("no", "yes") for i in range(6)))
    for i, name in enumerate(("validation_list.txt", "testing_list.txt")):
        (root / name).write_text(f"no/{i}_nohash_0.wav\nyes/{i}_nohash_0.wav\n")
    return SpeechCommands(str(root), frames=8)


def gtzan(root: Path) -> GTZAN:
    (tiny_sounds.gtzan(root) / "genres/jazz/jazz.00054.wav").unlink()  # it cannot be read
    return GTZAN(str(root), frames=8)


def audioset(root: Path) -> AudioSet:
    ids = [f"clip_{i:06d}" for i in range(6)]
    recordings(root, *(f"{one}_0.000.wav" for one in ids))
    (root / "balanced_train_segments.csv").write_text("# a\n" + "".join(f'{one}, 0, 10, "/m/1"\n' for one in ids))
    return AudioSet(str(root), front_end="mel_16k", frames=8, seconds=None)


def rooms(**settings: Any) -> Rooms:
    return Rooms(size=8, episodes=6, steps=9, horizon=4, **settings)


def episodes(root: Path) -> EpisodeFolder:
    collect(RoomsEnv(size=8), Wander(), root / "data", 4, 9, 0, {})
    return EpisodeFolder(str(root / "data"), horizon=3, skip=2)


def recorded(root: Path) -> Recorded:
    collect(GymEnvironment("Pendulum-v1"), Wander(), root / "data", 4, 9, 0, {"env": "gymnasium:Pendulum-v1"})
    return Recorded("Pendulum-v1", str(root / "data"), "observations", horizon=3)


def acting(batch: int, times: int, width: int) -> Tokens:
    x = torch.randn(batch, times, width, generator=torch.Generator().manual_seed(2))
    return Tokens(x, Grid(times).pos().expand(batch, -1, -1))


class Case(NamedTuple):
    """How to make a part at toy size, given an empty folder, and what to check it on."""

    make: Callable[[Path], object]
    samples: dict[str, Any] = {}  # noqa: RUF012


GRIDS = [Grid(1, 14, 14), Grid(1, 16, 16), Grid(1, 8, 8), Grid(1, 6, 10), Grid(3, 8, 8), Grid(9, 11, 1)]
PLANES = [grid for grid in GRIDS if grid.t == 1]


def lasting(frames: int, *frame: int) -> torch.Tensor:
    """For each value of an observation the frame that it belongs to."""
    return torch.arange(frames).view(-1, *(1 for _ in frame)).expand(frames, *frame)


def patches(frames: int, channels: int, side: int, patch: int) -> torch.Tensor:
    """For each value of an observation the patch of a frame that it belongs to."""
    row = torch.arange(side) // patch
    inside = row[:, None] * (side // patch) + row
    cells = (side // patch) ** 2
    return (torch.arange(frames)[:, None, None] * cells + inside)[:, None].expand(frames, channels, side, side)


def cells(frames: int, high: int, width: int) -> torch.Tensor:
    """For each number of representations `[frames, high, 1, width]` the token that it belongs to."""
    return torch.arange(frames * high).view(frames, high, 1, 1).expand(-1, -1, -1, width)


SMALL_FRAMES = {"obs": torch.randn(2, 6, 1, 8, 8), "footprint": lasting(6, 1, 8, 8), "compiled": False}
ENCODER = vit()
STAYS = {"moves": False}
FEW = {"count": 2}
FRAMES = {"footprint": lasting(6, 2, 16, 16), "causal": True}
STEPS = {"grid": Grid(6), "cond": acting(2, 5, 3), "causal": True}
OVER_TIME = {"dim": 4, "grid": Grid(8), "cond": acting(4, 7, 2)}

CASES: dict[type, list[Case]] = {
    MultiBlock: [
        Case(lambda _: MultiBlock(min_context=4), {"grids": GRIDS}),
        Case(lambda _: MultiBlock(2, (0.1, 0.1), (1.0, 1.0), (0.6, 0.7), (0.5, 2.0), 8), {"batch": 7}),
        Case(lambda _: MultiBlock(min_context=4, contexts=2), {"batch": 7}),
    ],
    # Its contexts may hold target tokens after twenty failed draws; its own numbers do not fit the smaller grids.
    MultiBlockOfficial: [
        Case(lambda _: MultiBlockOfficial(), {"grids": GRIDS[:2], "disjoint": False}),
        Case(lambda _: MultiBlockOfficial(min_keep=2), {"grids": PLANES, "disjoint": False}),
    ],
    BoxUnion: [
        Case(lambda _: BoxUnion(), {"grids": GRIDS}),
        Case(lambda _: BoxUnion(2, (0.7, 0.7), duration=(0.5, 1.0), min_context=4), {"grids": GRIDS, "batch": 7}),
        Case(lambda _: BoxUnion(official=True), {"grids": GRIDS}),
    ],
    Several: [Case(lambda _: Several([BoxUnion(), Random()]), {"grids": GRIDS})],
    Random: [
        Case(lambda _: Random(), {"grids": GRIDS}),
        Case(lambda _: Random(0.9), {"batch": 2}),
        Case(lambda _: Random([0.3, 0.7]), {"batch": 3}),
    ],
    Quadrants: [Case(lambda _: Quadrants(), {"grids": GRIDS})],
    Whole: [Case(lambda _: Whole(), {"grids": GRIDS, "random": False, "disjoint": False})],
    KeptBlocks: [
        Case(lambda _: KeptBlocks(), {"grids": GRIDS}),
        Case(lambda _: KeptBlocks(0.5, 4, 1), {"batch": 7}),
    ],
    CrossBlock: [
        Case(lambda _: CrossBlock(min_context=4), {"grids": GRIDS}),
        Case(lambda _: CrossBlock(2, (0.1, 0.2), (1.0, 2.0), 6), {"batch": 7}),
    ],
    Curriculum: [
        Case(lambda _: Curriculum(MultiBlock(min_context=4), CrossBlock(min_context=4)), {"grids": GRIDS}),
        Case(lambda _: Curriculum(MultiBlock(min_context=4), CrossBlock(min_context=4)).at(0.4), {"grids": GRIDS}),
    ],
    Future: [
        Case(lambda _: Future(), {"grids": [Grid(6), Grid(4, 3, 2)], "random": False}),
        Case(lambda _: Future(2, 3, rollouts=2), {"grids": [Grid(9), Grid(6, 2, 2)], "random": False}),
        Case(lambda _: Future(teacher=True), {"grids": [Grid(6)], "random": False, "disjoint": False}),
    ],
    Patches: [
        Case(lambda _: Patches(4, 6), {"obs": bytes_like(3, 3, 8, 12)}),
        Case(lambda _: Patches(2, 6, channels=1), {"obs": torch.randn(2, 1, 6, 4)}),
    ],
    Tubelets: [
        Case(lambda _: Tubelets(4, 6), {"obs": bytes_like(3, 3, 4, 8, 12)}),
        Case(lambda _: Tubelets(2, 6, frames=3, channels=1), {"obs": torch.randn(2, 1, 3, 6, 4)}),
        Case(lambda _: Tubelets(4, 6), {"obs": bytes_like(3, 3, 8, 12)}),
    ],
    SoundPatches: [
        Case(lambda _: SoundPatches([4, 16], 6), {"obs": torch.randn(3, 1, 8, 80)}),
        Case(lambda _: SoundPatches(16, 6, "kaldi_16k"), {"obs": torch.randn(2, 5_600)}),
    ],
    ViT: [
        Case(lambda _: vit(), {"obs": bytes_like(3, 3, 16, 12)}),
        Case(lambda _: vit(init="rescaled"), {"obs": torch.randn(2, 3, 8, 16), "compiled": False}),
        Case(lambda _: vit(init="xavier"), {"obs": tokens(3, Grid(1, 3, 5), 16), "compiled": False}),
        Case(lambda _: vit(positions=SinCos("h")), {"obs": bytes_like(2, 3, 16, 16), "compiled": False}),
        Case(lambda _: vit(positions=Table(4, 3, 16)), {"obs": bytes_like(2, 3, 16, 12)}),
        Case(lambda _: vivit(), {"obs": bytes_like(2, 3, 4, 8, 12)}),
        Case(lambda _: vivit(tiled=True), {"obs": bytes_like(2, 3, 8, 12), "compiled": False}),
        Case(
            lambda _: ViT(Tubelets(4, 12), 12, 1, 2, positions=Volume(2, 2, 3, 12)),
            {"obs": bytes_like(2, 3, 4, 8, 12), "compiled": False},
        ),
    ],
    ConvNet: [
        Case(lambda _: ConvNet(Patches(2, 8), 8, (1, 1)), {"obs": bytes_like(2, 3, 16, 12)}),
        Case(lambda _: ConvNet(Patches(4, 8), 8, (2,)), {"obs": torch.randn(2, 3, 8, 16)}),
        Case(
            lambda _: ConvNet(Tubelets(4, 8), 8, (0, 1), axes="thw"),
            {"obs": bytes_like(2, 3, 8, 16, 16), "compiled": False},
        ),
    ],
    ConvFrames: [
        Case(lambda _: ConvFrames(6, 2, 16, 3, 8), {"obs": bytes_like(2, 6, 2, 16, 16), **FRAMES}),
        Case(
            lambda _: ConvFrames(6, 1, 8, 3, 8),
            SMALL_FRAMES,
        ),
    ],
    StateFrames: [
        Case(lambda _: StateFrames(6, 3, 8), {"obs": torch.randn(2, 6, 3), "footprint": lasting(6, 3), "causal": True})
    ],
    SameLatent: [
        Case(lambda _: SameLatent(3), {"obs": torch.randn(2, 4, 2, 1, 3), "footprint": cells(4, 2, 3), "causal": True})
    ],
    OwnLatent: [
        Case(
            lambda _: OwnLatent(3, 6, 8),
            {"obs": torch.randn(2, 4, 2, 1, 3), "footprint": cells(4, 2, 3), "causal": True},
        )
    ],
    PerFrame: [
        Case(
            lambda _: PerFrame(vit()),
            {"obs": bytes_like(2, 3, 3, 8, 8), "footprint": patches(3, 3, 8, 4), "causal": True, "compiled": False},
        ),
        Case(
            lambda _: PerFrame(vivit(), normalise=True),
            {"obs": bytes_like(2, 3, 3, 8, 8), "footprint": patches(3, 3, 8, 4), "causal": True, "compiled": False},
        ),
    ],
    ResidualMLP: [
        Case(lambda _: ResidualMLP(4, 12, history=2, actions=ActionSpec(3)), {"dim": 4, **STEPS}),
        Case(lambda _: ResidualMLP(4, 12, 1), {"dim": 4, "grid": Grid(6), "causal": True, "compiled": False}),
    ],
    Recurrent: [Case(lambda _: Recurrent(4, ActionSpec(3)), {"dim": 4, **STEPS})],
    EnsembleMLP: [
        Case(lambda _: EnsembleMLP(4, 3, 12, history=2, actions=ActionSpec(3)), {"dim": 4, **STEPS}),
        Case(lambda _: EnsembleMLP(4, 2, 12), {"dim": 4, "grid": Grid(6), "causal": True, "compiled": False}),
    ],
    CausalViT: [
        Case(
            lambda _: CausalViT(4, 12, 2, 2, history=3, actions=ActionSpec(3)),
            {"dim": 4, **STEPS, "grid": Grid(6, 2, 1)},
        ),
        Case(
            lambda _: CausalViT(4, 24, 1, 2, history=9, positions=SinCos("thw")),
            {"dim": 4, "grid": Grid(6, 1, 2), "causal": True, "compiled": False},
        ),
        Case(
            lambda _: CausalViT(
                *(4, 24, 2, 2),
                history=4,
                positions=Rotary("thw", tiled=True),
                init="xavier",
                actions=ActionSpec(3, states=[StateSpec(4), StateSpec(2)]),
                normalised=True,
                lattice=8,
            ),
            {"dim": 4, **STEPS, "cond": acting(2, 5, 9), "grid": Grid(6, 2, 2), "compiled": False},
        ),
    ],
    Projector: [Case(lambda _: Projector(4, 5, 12, 2), {"dim": 4, "out_dim": 5, "placed": False})],
    ConvDecoder: [
        Case(lambda _: ConvDecoder(4, 12, 2, groups=3), {"dim": 4}),
        Case(
            lambda _: ConvDecoder(4, 12, 1, 5, 1, "thw", "xavier"),
            {"dim": 4, "grid": Grid(3, 3, 2), "compiled": False},
        ),
    ],
    Prototypes: [Case(lambda _: student(), {"dim": 16, "out_dim": 10})],
    TimmViT: [Case(lambda _: TimmViT("test_vit", image_size=32), {"obs": bytes_like(2, 3, 32, 32)})],
    MaskTokenViT: [
        Case(lambda _: MaskTokenViT(16, dim=12, depth=2, heads=3), {"dim": 16}),
        Case(
            lambda _: MaskTokenViT(8, 12, 1, 2, positions=SinCos("thw")),
            {"dim": 8, "grid": Grid(3, 3, 2), "compiled": False},
        ),
        Case(lambda _: MaskTokenViT(8, 12, 1, 2, positions=Table(8, 8, 12)), {"dim": 8}),
        Case(
            lambda _: MaskTokenViT(8, 12, 1, 2, positions=Volume(3, 3, 2, 12)),
            {"dim": 8, "grid": Grid(3, 3, 2), "compiled": False},
        ),
        Case(lambda _: MaskTokenViT(8, 12, 2, 2, joint=True), {"dim": 8, "apart": False, "compiled": False}),
        Case(lambda _: MaskTokenViT(8, 12, 1, 2, out_dim=5), {"dim": 8, "out_dim": 5, "compiled": False}),
    ],
    EMA: [
        Case(lambda _: EMA(vit(), steps=10, start=0.5), {"encoder": vit(), "obs": bytes_like(2, 3, 12, 8)}),
        Case(lambda _: EMA(vit(), 10, 0.5, sees="asked"), {"encoder": vit(), "obs": bytes_like(2, 3, 12, 8)}),
        Case(lambda _: EMA(vit(), 10, normalise=False), {"encoder": vit(), "obs": bytes_like(2, 3, 12, 8)}),
        Case(
            lambda _: EMA(vit(), 10, start=0.5, low_precision=True), {"encoder": vit(), "obs": bytes_like(2, 3, 8, 8)}
        ),
        Case(lambda _: EMA(vit(), 10, start=1.0), {"encoder": vit(), "obs": bytes_like(2, 3, 8, 8), "moves": False}),
    ],
    Shared: [
        Case(lambda _: Shared(ENCODER), {"encoder": ENCODER, "obs": bytes_like(2, 3, 8, 8), **STAYS, "gradient": True}),
        Case(
            lambda _: Shared(ENCODER, True, True, "all"), {"encoder": ENCODER, "obs": bytes_like(2, 3, 8, 8), **STAYS}
        ),
    ],
    Frozen: [Case(lambda _: Frozen(vit()), {"encoder": vit(), "obs": bytes_like(2, 3, 8, 8), **STAYS})],
    TopLayers: [
        Case(lambda _: TopLayers(vit(), 10, 0.5, share=0.5), {"encoder": vit(), "obs": bytes_like(2, 3, 12, 8)}),
    ],
    Pixels: [
        Case(lambda _: Pixels(vit()), {"encoder": vit(), "obs": bytes_like(2, 3, 12, 8), **STAYS}),
        Case(lambda _: Pixels(vit(), False), {"encoder": vit(), "obs": bytes_like(2, 3, 12, 8), **STAYS}),
    ],
    Mutual: [Case(lambda _: Mutual(vit()), {"encoder": vit(), "obs": bytes_like(2, 3, 12, 8), "blind": True, **STAYS})],
    Teacher: [
        Case(
            lambda _: Teacher(vit(), student(), 10, 0.5),
            {"encoder": vit(), "obs": bytes_like(2, 3, 12, 8), "further": 1},
        )
    ],
    CrossEntropy: [Case(lambda _: CrossEntropy())],
    Invariance: [Case(lambda _: Invariance(weight=0.5))],
    L1: [Case(lambda _: L1(weight=2.0), {"zero": True})],
    SmoothL1: [Case(lambda _: SmoothL1(beta=0.5, weight=2.0), {"zero": True})],
    MSE: [Case(lambda _: MSE(weight=0.5), {"zero": True})],
    Cosine: [Case(lambda _: Cosine(weight=0.5), {"zero": True})],
    VarianceCovariance: [
        Case(lambda _: VarianceCovariance(), {"gradient": "context"}),
        Case(lambda _: VarianceCovariance(of="answers"), {"gradient": "target"}),
        Case(lambda _: VarianceCovariance(of="predictions"), {"gradient": "pred"}),
    ],
    SIGReg: [
        Case(lambda _: SIGReg(directions=16), {"gradient": "target"}),
        Case(lambda _: SIGReg(directions=16, of="predictions"), {"gradient": "pred"}),
        Case(lambda _: SIGReg(directions=16, of="context", count=True), {"gradient": "context"}),
    ],
    InverseDynamics: [Case(lambda _: InverseDynamics(4, ActionSpec(2)), {**OVER_TIME, "gradient": "target"})],
    TimeSimilarity: [Case(lambda _: TimeSimilarity(), {**OVER_TIME, "gradient": "target"})],
    Sum: [
        Case(lambda _: Sum([SmoothL1(), VarianceCovariance()]), {"gradient": "pred"}),
        Case(lambda _: Sum([SmoothL1(), VarianceCovariance()]), {"gradient": "context"}),
    ],
    ArrayObservations: [
        Case(lambda _: ArrayObservations(bytes_like(5, 1, 8, 8).numpy(), channels=3)),
        Case(lambda _: ArrayObservations(bytes_like(5, 3, 8, 8).numpy(), crop_scale=(0.3, 1.0))),
        Case(lambda _: ArrayObservations(bytes_like(5, 3, 8, 8).numpy(), looks=LOOKS)),
    ],
    ImageFiles: [Case(lambda root: folder(root).train()), Case(lambda root: folder(root, views=LOOKS).train())],
    VideoFiles: [Case(lambda root: videos(root).train())],
    SeveralClips: [Case(lambda root: videos(root, clips=2).train())],
    Clips: [Case(lambda root: moving(root).train())],
    Folder: [Case(folder)],
    Videos: [Case(videos), Case(lambda root: videos(root, clips=3, channels=1, fps=12.0))],
    ListedSource: [Case(listed)],
    VideoList: [Case(video_list)],
    Kinetics: [Case(kinetics)],
    SomethingSomething: [Case(something)],
    Diving48: [Case(lambda root: Diving48(str(tiny_videos.diving48(root)), **CLIP), FEW)],
    Jester: [Case(lambda root: Jester(str(tiny_videos.jester(root)), **CLIP), FEW)],
    FrameFolders: [Case(lambda root: Jester(str(tiny_videos.jester(root)), **CLIP).train(), FEW)],
    EpicKitchens: [Case(lambda root: EpicKitchens(str(tiny_videos.epic100(root)), **CLIP, fps=None), FEW)],
    Segments: [
        Case(lambda root: Diving48(str(tiny_videos.diving48(root)), **CLIP).train(), FEW),
        Case(lambda root: EpicKitchens(str(tiny_videos.epic100(root)), 0.2, **CLIP).train(), FEW),
    ],
    Moving: [Case(moving, {"count": 4})],
    ImageNet: [Case(imagenet)],
    Manifest: [Case(manifest)],
    CIFAR10: [Case(lambda root: CIFAR10(str(tiny.cifar10(root)), size=24, views=LOOKS), FEW)],
    CIFAR100: [
        Case(lambda root: CIFAR100(str(tiny.cifar100(root))), FEW),
        Case(lambda root: CIFAR100(str(tiny.cifar100(root, python=True)), channels=1), FEW),
    ],
    CLEVR: [Case(lambda root: CLEVR(str(tiny.clevr(root)), size=8), FEW)],
    Places205: [Case(lambda root: Places205(str(tiny.places205(root)), size=8), FEW)],
    INaturalist: [Case(lambda root: INaturalist(str(tiny.inat18(root)), size=8), FEW)],
    ADE20K: [Case(lambda root: ADE20K(str(tiny.ade20k(root)), size=8), FEW)],
    LabelledPixels: [Case(lambda root: ADE20K(str(tiny.ade20k(root)), size=8).pixels().train, FEW)],
    NYUDepth: [Case(lambda root: NYUDepth(str(tiny.nyu_depth(root, 6)), size=8), FEW)],
    DepthPictures: [Case(lambda root: NYUDepth(str(tiny.nyu_depth(root, 6)), size=8).depths().train, FEW)],
    DAVIS: [Case(lambda root: DAVIS(str(tiny.davis(root)), size=8), FEW)],
    Patterns: [Case(lambda root: Patterns(size=16, count=20, cache=str(root), augment="crop"), {"count": 4})],
    Spectrograms: [
        Case(lambda _: Spectrograms(torch.randn(5, 8, 4).numpy())),
        Case(lambda _: Spectrograms(torch.randn(5, 8, 4).half().numpy(), fingerprint="x")),
    ],
    SoundFiles: [Case(lambda root: sounds(root).train())],
    Sounds: [Case(sounds)],
    ESC50: [Case(lambda root: folds(root, ESC50))],
    UrbanSound8K: [Case(lambda root: folds(root, UrbanSound8K))],
    SpeechCommands: [Case(commands)],
    AudioSet: [Case(audioset)],
    NSynth: [Case(lambda root: NSynth(str(tiny_sounds.nsynth(root)), frames=8), FEW)],
    FSD50K: [Case(lambda root: FSD50K(str(tiny_sounds.fsd50k(root)), frames=8), FEW)],
    GTZAN: [Case(gtzan, FEW)],
    HEAR: [Case(lambda root: HEAR(str(tiny_sounds.hear(root, folds=3)), "beehive", frames=8), FEW)],
    Textures: [Case(lambda root: Textures(count=20, frames=8, cache=str(root)), {"count": 4})],
    Words: [Case(lambda root: Words(count=20, frames=8, cache=str(root)), {"count": 4})],
    Windows: [
        Case(lambda _: rooms(dots=1).train()),
        Case(lambda _: rooms(view="state", skip=2).train()),
        Case(lambda _: rooms(proprioception=True).train()),
        Case(lambda root: episodes(root).train()),
    ],
    Some: [Case(lambda _: Some(Stills(RoomsEnv(size=8), seeds_of(0, range(9)), 3), [1, 4, 8]))],
    Held: [Case(lambda _: Held(ArrayObservations(bytes_like(5, 3, 8, 8).numpy(), crop_scale=(0.3, 1.0))))],
    Joined: [
        Case(lambda _: Joined([Stills(RoomsEnv(size=8), seeds_of(0, range(first, first + 4)), 3) for first in (0, 4)]))
    ],
    States: [Case(lambda _: States(RoomsEnv(size=8), 0, 9))],
    Stills: [Case(lambda _: Stills(RoomsEnv(size=8), seeds_of(0, range(9)), 3))],
    Rooms: [Case(lambda _: rooms(layout="smaze"))],
    Recorded: [Case(recorded)],
    EpisodeFolder: [Case(episodes)],
    Shapes: [
        Case(lambda root: Shapes(size=16, count=20, cache=str(root)), {"count": 4}),
        Case(lambda root: Shapes(size=16, count=20, objects="1-4", channels=1, cache=str(root)), {"count": 4}),
    ],
}


def import_all(package: Any) -> None:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def subclasses(kind: type) -> Iterator[type]:
    for sub in kind.__subclasses__():
        yield sub
        yield from subclasses(sub)


def concrete() -> list[type]:
    """Every class of the packages that implements an interface."""
    import_all(worldjepa)
    import_all(modalities.audio)
    import_all(modalities.image)
    import_all(modalities.trajectory)
    import_all(modalities.video)
    found = {sub for kind in CHECKS for sub in subclasses(kind)}
    shipped = [sub for sub in found if sub.__module__.startswith(("worldjepa.", "modalities."))]
    return sorted((sub for sub in shipped if not inspect.isabstract(sub)), key=lambda sub: sub.__qualname__)


def test_every_subclass_has_a_case() -> None:
    missing = [f"{sub.__module__}.{sub.__qualname__}" for sub in concrete() if sub not in CASES]
    assert not missing, f"add cases to {__name__}.CASES for {', '.join(missing)}"


ALL = [
    pytest.param(kind, case, id=f"{kind.__name__}-{number}")
    for kind, cases in CASES.items()
    for number, case in enumerate(cases)
]


@pytest.mark.parametrize(("kind", "case"), ALL)
def test_promises(kind: type, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"train": 24, "val": 12, "test": 12}
    for source in (embedded, embedded_clips, rooms_embedded):
        monkeypatch.setattr(source, "PROBE_SIZES", small)
    for sounds_source in (Textures, Words):
        monkeypatch.setattr(sounds_source, "probe_sizes", small)
    torch.manual_seed(0)
    part = case.make(tmp_path)
    assert type(part) is kind
    before = torch.random.get_rng_state()
    check(part, **case.samples)
    assert torch.equal(before, torch.random.get_rng_state()), "checking moved the global generator"


def test_a_part_under_check_stays_as_it_was() -> None:
    torch.manual_seed(0)
    encoder = vit().train()
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    check(encoder, obs=bytes_like(2, 3, 8, 8), compiled=False)
    assert encoder.training
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


def test_what_implements_no_interface_is_refused() -> None:
    with pytest.raises(TypeError, match="Linear is none of MaskSampler, Tokenizer"):
        check(torch.nn.Linear(1, 1))
    with pytest.raises(TypeError, match="obs"):
        check(vit())
    with pytest.raises(ValueError, match="at least 2 samples"):
        check(vit(), obs=bytes_like(1, 3, 8, 8))


def test_a_footprint_replaces_the_guess() -> None:
    # Channels last: the guess would take the channels for columns.
    class ChannelsLast(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.dim = vit(), 16

        def grid(self, obs_shape: Any) -> Grid:
            return self.inner.grid((obs_shape[2], obs_shape[0], obs_shape[1]))

        def forward(self, obs: Any, keep: Any = None) -> Tokens:
            return self.inner(obs.permute(0, 3, 1, 2), keep)

    obs = bytes_like(2, 8, 12, 3)
    rows, columns = torch.arange(8) // 4, torch.arange(12) // 4
    footprint = (rows[:, None] * 3 + columns)[..., None].expand(8, 12, 3)
    globals()["ChannelsLast"] = ChannelsLast  # where pickle looks for it
    ChannelsLast.__qualname__ = "ChannelsLast"
    with pytest.raises(ValueError, match="pass `footprint`"):
        check(ChannelsLast(), obs=bytes_like(2, 8, 16, 3), compiled=False)
    check(ChannelsLast(), obs=obs, footprint=footprint, compiled=False)
