"""I-JEPA and MAE of stable-pretraining (MIT), its public classes as they are. Run by `benchmarks.efficiency --peers PYTHON`.

Encoder and predictor have the sizes of the job; all other defaults stay, the momentum from .996 and the one attention head of a
predictor this narrow among them. Optimiser and schedule are the quick start's: the package's own depend on the example.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stable_pretraining.methods import IJEPA, MAE
from timm.models.vision_transformer import VisionTransformer

from benchmarks.efficient.peer import Job, Learner, serve


def vit_of(job: Job, side: int, channels: int) -> VisionTransformer:
    """The vision transformer of the job."""
    return VisionTransformer(
        img_size=side,
        patch_size=job.patch,
        in_chans=channels,
        embed_dim=job.dim,
        depth=job.depth,
        num_heads=job.heads,
        num_classes=0,
        class_token=False,
        global_pool="",
    )


def ijepa(job: Job, side: int, channels: int) -> Learner:
    """Its I-JEPA."""
    start = 0.996 if job.ema is None else job.ema
    model = IJEPA(
        vit_of(job, side, channels),
        predictor_embed_dim=job.predictor_dim,
        predictor_depth=job.predictor_depth,
        ema_decay_start=start,
    )
    model.train()

    def follow(progress: float) -> None:
        model.encoder.update_ema_coefficient(progress, 1)
        model.encoder.update_teacher()

    return Learner(
        model, lambda images: model(images).loss, follow, lambda images: whole(model.encoder.teacher, images)
    )


def mae(job: Job, side: int, channels: int) -> Learner:
    """Its masked autoencoder."""
    model = MAE(
        vit_of(job, side, channels),
        decoder_embed_dim=job.predictor_dim,
        decoder_depth=job.predictor_depth,
        decoder_num_heads=job.predictor_heads,
    )
    model.train()
    return Learner(
        model, lambda images: model(images).loss, lambda progress: None, lambda images: whole(model.encoder, images)
    )


def whole(encoder: torch.nn.Module, images: Tensor) -> Tensor:
    """Tokens of whole images: its encoder hides nothing once it does not train."""
    encoder.eval()
    tokens: Tensor = encoder(images).encoded
    encoder.train()
    return tokens


def build(job: Job, side: int, channels: int) -> Learner:
    """The method of the job."""
    return {"ijepa": ijepa, "mae": mae}[job.method](job, side, channels)


if __name__ == "__main__":
    serve(build)
