"""I-JEPA and MAE of lightly (MIT), put together of its public classes on timm. Run by `benchmarks.efficiency --peers PYTHON`.

The package has no training recipe of its own, so optimiser and schedule are the quick start's. Masks of I-JEPA have the scales
and the aspect of the paper, not the collator's defaults; its other defaults stay. The momentum of the moving average begins at
the .996 of its examples.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lightly.data import IJEPAMaskCollator
from lightly.models import utils
from lightly.models.modules.ijepa_timm import IJEPAPredictorTIMM
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from lightly.models.modules.masked_vision_transformer_timm import MaskedVisionTransformerTIMM
from lightly.utils.scheduler import cosine_schedule
from timm.models.vision_transformer import VisionTransformer

from benchmarks.efficient.peer import Job, Learner, serve


def encoder_of(job: Job, side: int, channels: int) -> MaskedVisionTransformerTIMM:
    """The vision transformer of the job."""
    vit = VisionTransformer(
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
    return MaskedVisionTransformerTIMM(vit)


def ijepa(job: Job, side: int, channels: int) -> Learner:
    """Its I-JEPA."""
    encoder, tokens = encoder_of(job, side, channels), (side // job.patch) ** 2
    predictor = IJEPAPredictorTIMM(tokens, job.predictor_depth, job.dim, job.predictor_dim, job.predictor_heads)
    target = copy.deepcopy(encoder).requires_grad_(False)
    collate = IJEPAMaskCollator(
        (side, side),
        patch_size=job.patch,
        enc_mask_scale=(0.85, 1.0),
        pred_mask_scale=(0.15, 0.2),
        aspect_ratio=(0.75, 1.5),
        npred=4,
    )

    def loss(images: Tensor) -> Tensor:
        images, seen, asked = collate(list(images))
        with torch.no_grad():
            h = F.layer_norm(target.encode(images), (job.dim,))
            h = utils.repeat_interleave_batch(utils.apply_masks(h, asked), len(images), repeat=len(seen))
        z = encoder.encode(images, idx_keep=seen[0])
        return F.smooth_l1_loss(predictor(z, seen, asked), h)

    def follow(progress: float) -> None:
        start = 0.996 if job.ema is None else job.ema
        utils.update_momentum(encoder, target, cosine_schedule(round(1e6 * progress), 1_000_001, start, 1.0))

    return Learner(nn.ModuleList([encoder, predictor]), loss, follow, target.encode)


def mae(job: Job, side: int, channels: int) -> Learner:
    """Its masked autoencoder."""
    encoder, tokens = encoder_of(job, side, channels), (side // job.patch) ** 2
    decoder = MaskedVisionTransformerDecoderTIMM(
        tokens, job.predictor_dim, job.predictor_depth, job.predictor_heads, num_prefix_tokens=0
    )
    embed = nn.Linear(job.dim, job.predictor_dim)
    head = nn.Linear(job.predictor_dim, job.patch**2 * channels)

    def loss(images: Tensor) -> Tensor:
        keep, hidden = utils.random_token_mask((len(images), tokens), mask_ratio=0.75, mask_class_token=True)
        whole = utils.repeat_token(decoder.mask_token, (len(images), tokens))
        whole = utils.set_at_index(whole, keep, embed(encoder.encode(images, idx_keep=keep)))
        said = head(utils.get_at_index(decoder(whole), hidden))
        truth = utils.get_at_index(utils.patchify(images, job.patch), hidden)
        return F.mse_loss(said, utils.normalize_mean_var(truth))

    return Learner(nn.ModuleList([encoder, decoder, embed, head]), loss, lambda progress: None, encoder.encode)


def build(job: Job, side: int, channels: int) -> Learner:
    """The method of the job."""
    return {"ijepa": ijepa, "mae": mae}[job.method](job, side, channels)


if __name__ == "__main__":
    serve(build)
