"""The same work with the parts of lightly (PyPI `lightly`, MIT), in an environment of its own:

    python -m venv lightly && lightly/bin/pip install lightly timm

It builds encoder and predictor from lightly's classes on timm; masks are those of the work, as lightly's collator would
hand them over; update of the moving average by lightly's own function. Run by `benchmarks.train_step --lightly PYTHON`.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lightly.data import IJEPAMaskCollator
from lightly.models import utils
from lightly.models.modules.ijepa_timm import IJEPAPredictorTIMM
from lightly.models.modules.masked_vision_transformer_timm import MaskedVisionTransformerTIMM
from lightly.transforms.ijepa_transform import IJEPATransform
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from benchmarks.contender import Clock, Step, Work, serve


def build(work: Work) -> Step:
    """The step, on weights of its own."""
    size, device = work.size, work.device
    vit = VisionTransformer(
        img_size=size.image,
        patch_size=size.patch,
        embed_dim=size.dim,
        depth=size.depth,
        num_heads=size.heads,
        num_classes=0,
        class_token=False,
        global_pool="",
    )
    encoder = MaskedVisionTransformerTIMM(vit).to(device)
    tokens = (size.image // size.patch) ** 2
    predictor = IJEPAPredictorTIMM(tokens, size.predictor_depth, size.dim, size.predictor_dim, size.heads).to(device)
    target = copy.deepcopy(encoder).requires_grad_(False)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *predictor.parameters()], lr=1e-4, weight_decay=0.04)
    transform = IJEPATransform(size.image, min_scale=0.3)
    collate = IJEPAMaskCollator((size.image, size.image), patch_size=size.patch, min_keep=size.min_keep)
    images = (work.images.float() / 255 - 0.45) / 0.225
    images = images.to(device)

    def photo(path: str) -> Tensor:
        with Image.open(path) as image:
            made: Tensor = transform(image.convert("RGB"))
            return made

    def step(number: int, clock: Clock) -> Tensor:
        with clock("data"):
            loaded = [photo(path) for path in work.photos]
        with clock("masks"):
            collate(loaded)
        seen = work.context[number].to(device)
        asked = [mask.to(device) for mask in work.target[number].unbind(1)]
        optimizer.zero_grad()
        with work.autocast:
            with clock("target"), torch.no_grad():
                h = F.layer_norm(target.encode(images).float(), (size.dim,))
                h = utils.repeat_interleave_batch(utils.apply_masks(h, asked), len(images), repeat=1)
            with clock("context"):
                z = encoder.encode(images, idx_keep=seen)
            with clock("predictor"):
                loss = F.smooth_l1_loss(predictor(z, [seen], asked).float(), h)
        with clock("backward"):
            loss.backward()
        with clock("optimiser"):
            optimizer.step()
        with clock("EMA"):
            utils.update_momentum(encoder, target, 0.996)
        return loss

    return step


if __name__ == "__main__":
    serve(build)
