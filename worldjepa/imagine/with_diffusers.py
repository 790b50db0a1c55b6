"""The same with the networks and schedulers of diffusers, for pictures and processors of another size."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.imagine.decoders import Condition, Decoder, Denoiser, guided

LEVELS = 1000
"""Times that diffusers tells apart."""
GROUPS = 8


def check_diffusers() -> None:
    """Raise `UserError` where diffusers is not installed."""
    if importlib.util.find_spec("diffusers") is None:
        raise UserError("decoder=diffusers needs the package diffusers: pip install 'worldjepa[diffusion]'")


def _diffusers() -> Any:
    """The package, imported where it is used: that takes seconds.

    Raises:
        UserError: it is not installed.
    """
    check_diffusers()
    return importlib.import_module("diffusers")


@final
class Attending(Denoiser):
    """`UNet2DConditionModel`: it attends to the tokens, each with its place, and is told their mean beside the time.

    Args:
        channels: of a picture.
        tokens: the shape of a condition, (D, h, w).
        where: numbers that say where or when it is.
        width: channels at full resolution, a multiple of 8; they double once, at half of it.
        blocks: residual blocks on each of the two resolutions.

    Raises:
        UserError: diffusers is not installed.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, tokens: Sequence[int], where: int, width: int = 32, blocks: int = 1) -> None:
        super().__init__()
        if width < GROUPS or width % GROUPS:
            raise UserError(f"width must be a multiple of {GROUPS}: width={width}")
        dim, rows, cols = tokens
        wide = 2 * width
        self.net = _diffusers().UNet2DConditionModel(
            in_channels=channels,
            out_channels=channels,
            block_out_channels=(width, wide),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=blocks,
            norm_num_groups=GROUPS,
            cross_attention_dim=wide,
            attention_head_dim=GROUPS,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=dim + where,
        )
        self.token = nn.Linear(dim, wide)
        self.place = nn.Parameter(0.02 * torch.randn(rows * cols, wide))
        self.nothing = nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim, 1, 1))
        self.register_buffer("std", torch.ones(dim, 1, 1))

    def fit(self, condition: Condition) -> None:
        """Take mean and deviation of each feature."""
        std, mean = torch.std_mean(condition.x.float(), (0, 2, 3), keepdim=True)
        self.mean.copy_(mean[0])
        self.std.copy_(std[0].clamp_min(1e-4))

    def forward(
        self,
        noisy: Float[Tensor, "B C H W"],
        t: Float[Tensor, " B"],
        condition: Condition,
        keep: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """See `Denoiser`."""
        x, where = ((condition.x - self.mean) / self.std).flatten(2).transpose(1, 2), condition.where  # [B, h*w, D]
        if keep is not None:
            x = torch.where(keep[:, None, None], x, self.nothing)
            where = where * keep[:, None]
        told = torch.cat([x.mean(1), where], 1)
        drawn: Tensor = self.net(noisy, t * (LEVELS - 1), self.token(x) + self.place, class_labels=told).sample
        return drawn


@final
class Diffusers(Decoder):
    """A conditional diffusion model with `DDIMScheduler`: v-prediction, and a cosine schedule that ends in noise alone.

    Args:
        network: says v.
        shape: of a picture.
        dropout: see `worldjepa.imagine.decoders.Diffusion`, also for the others.
        steps: of sampling.
        guidance: how far samples follow the condition.

    Raises:
        UserError: diffusers is not installed, or a number is out of its range.
    """

    def __init__(
        self, network: Denoiser, shape: Sequence[int], dropout: float = 0.1, steps: int = 25, guidance: float = 1.0
    ) -> None:
        super().__init__(network, shape)
        if not 0 <= dropout < 1 or not 1 <= steps <= LEVELS:
            raise UserError(f"dropout must be in [0, 1) and steps from 1 to {LEVELS}: dropout={dropout}, steps={steps}")
        self.dropout, self.steps, self.guidance = dropout, steps, guidance

    def loss(self, picture: Float[Tensor, "B C H W"], condition: Condition, rng: torch.Generator) -> Float[Tensor, ""]:
        """The mean squared error of v at random times."""
        b, device = len(picture), picture.device
        noise = torch.randn(picture.shape, generator=rng).to(device)
        level = torch.randint(LEVELS, (b,), generator=rng).to(device)
        keep = (torch.rand(b, generator=rng) >= self.dropout).to(device)
        clean, scheduler = self.standardised(picture), self._scheduler()
        noisy, v = scheduler.add_noise(clean, noise, level), scheduler.get_velocity(clean, noise, level)
        return F.mse_loss(self.network(noisy, level / (LEVELS - 1), condition, keep), v)

    @torch.no_grad()
    def sample(self, condition: Condition, count: int, rng: torch.Generator) -> Float[Tensor, "B S C H W"]:
        """Draw noise and take it away."""
        b, device = len(condition.x), condition.x.device
        x = torch.randn(b * count, *self.shape, generator=rng).to(device)
        asked, scheduler = condition.repeat(count), self._scheduler()
        scheduler.set_timesteps(self.steps, device=device)
        for level in scheduler.timesteps:
            t = (level / (LEVELS - 1)).expand(len(x))
            x = scheduler.step(guided(self.network, self.guidance, x, t, asked), level, x).prev_sample
        return self.restored(x).view(b, count, *self.shape)

    @staticmethod
    def _scheduler() -> Any:
        return _diffusers().DDIMScheduler(
            LEVELS,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            clip_sample=False,
            timestep_spacing="trailing",
            rescale_betas_zero_snr=True,
        )
