"""The training step of this package, its parts timed one by one."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.contender import Clock, Size, Step, Work, serve
from modalities.image.observations import ImageFiles, View
from modalities.image.tokenizer import Patches
from worldjepa.data.paths import PathTable
from worldjepa.encoders import ViT
from worldjepa.jepa import JEPA
from worldjepa.masks import MultiBlockOfficial
from worldjepa.objectives import SmoothL1
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA
from worldjepa.train import allocator
from worldjepa.train.optim import build_optimizer
from worldjepa.train.run import switch_on
from worldjepa.train.settings import OptimSettings, RunSettings
from worldjepa.types import Masks


def model_of(size: Size) -> JEPA:
    """A model of this size."""
    encoder = ViT(Patches(size.patch, size.dim, 3), size.dim, size.depth, size.heads)
    predictor = MaskTokenViT(size.dim, size.predictor_dim, size.predictor_depth, size.heads)
    return JEPA(encoder, predictor, EMA(encoder, 1, start=0.996, end=0.996), SmoothL1())


def build(work: Work) -> Step:
    """The step, on the work's weights and masks; whatever training switches on by itself is switched on."""
    if work.device == "cpu":
        allocator.keep_freed_memory()
    size = work.size
    model = model_of(size)
    model.load_state_dict(work.weights, strict=False)
    model.target.encoder.load_state_dict(model.encoder.state_dict())
    model.to(work.device)
    switch_on(model, RunSettings(compile=work.compile))
    optimizer = build_optimizer(model, OptimSettings(lr=1e-4, weight_decay=0.04, warmup_steps=0))
    files = ImageFiles("", PathTable(work.photos), View(size.image, 3, (0.3, 1.0)))
    images, sampler = work.images.to(work.device), MultiBlockOfficial(min_keep=size.min_keep)
    grid = model.encoder.grid(images.shape[1:])
    rng = torch.Generator().manual_seed(0)

    def step(number: int, clock: Clock) -> Tensor:
        with clock("data"):
            torch.stack([files.observe(i, torch.Generator().manual_seed(i)) for i in range(len(files))])
        with clock("masks"):
            sampler(grid, size.batch, rng)
        masks = Masks(work.context[number][:, None].to(work.device), work.target[number].to(work.device))
        optimizer.zero_grad()
        with work.autocast:
            with clock("target"):
                (answer,) = model.target(images, [masks])
            with clock("context"):
                context = model.encoder(images, masks.context)
            with clock("predictor"):
                loss = model.objective(model.predictor(context, answer.pos), answer, context)["smooth_l1"]
        with clock("backward"):
            loss.backward()
        with clock("optimiser"):
            optimizer.step()
        with clock("EMA"):
            model.target.update(model.encoder, 0)
        return loss

    return step


if __name__ == "__main__":
    serve(build)
