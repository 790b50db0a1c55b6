"""Who looks at decoded pictures: a small network that has learned from true ones what they show."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.evaluate.sweep import pace
from worldjepa.imagine.network import GROUPS
from worldjepa.imagine.subject import Scenes

BATCH, RATE = 64, 2e-3
AT_A_TIME = 256
BLUR = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


class Factor(NamedTuple):
    """What is known of scenes: classes [N] as whole numbers, or numbers [N, R], which are compared by distance."""

    values: Shaped[Tensor, "N ..."]
    classes: int
    """How many; 0 for numbers."""


@final
class Judge(nn.Module):
    """Convolutions and a linear layer for each factor; where a block lies in the picture is told beside its pixels.

    Args:
        channels: of a picture.
        where: numbers that say where it lies.
        factors: what is to be told.
    """

    def __init__(self, channels: int, where: int, factors: Mapping[str, Factor]) -> None:
        super().__init__()
        widths = [channels + where, 32, 64, 64]
        layers: list[nn.Module] = []
        for number, (before, width) in enumerate(itertools.pairwise(widths)):
            stride = 1 if number == 1 else 2
            layers += [nn.Conv2d(before, width, 3, stride, 1), nn.GroupNorm(GROUPS, width), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 128), nn.SiLU())
        self.factors = {name: factor.classes for name, factor in factors.items()}
        self.heads = nn.ModuleDict({name: nn.Linear(128, _outputs(factor)) for name, factor in factors.items()})
        numbers = {name: factor.values for name, factor in factors.items() if not factor.classes}
        self.scales = {name: (values.mean(0), values.std(0).clamp_min(1e-6)) for name, values in numbers.items()}

    def forward(
        self, picture: Float[Tensor, "B C H W"], where: Float[Tensor, "B P"]
    ) -> dict[str, Float[Tensor, "B K"]]:
        """Scores of classes, or standardised numbers, of each factor."""
        place = where[..., None, None].expand(-1, -1, *picture.shape[2:])
        features = self.body(torch.cat([picture, place], 1))
        return {name: head(features) for name, head in self.heads.items()}

    def loss(self, name: str, said: Float[Tensor, "B K"], actual: Shaped[Tensor, "B ..."]) -> Float[Tensor, ""]:
        """How far what was said of a factor is from what is so."""
        if self.factors[name]:
            return F.cross_entropy(said, actual)
        mean, std = self.scales[name]
        return F.mse_loss(said, (actual - mean) / std)

    @torch.no_grad()
    def tell(
        self, picture: Float[Tensor, "N C H W"], where: Float[Tensor, "N P"]
    ) -> dict[str, Shaped[Tensor, "N ..."]]:
        """The class, or the numbers, of each factor."""
        parts = [self(*both) for both in zip(*(torch.split(all_, AT_A_TIME) for all_ in (picture, where)), strict=True)]
        said: dict[str, Tensor] = {}
        for name, classes in self.factors.items():
            scores = torch.cat([part[name] for part in parts])
            mean, std = self.scales.get(name, (0.0, 1.0))
            said[name] = scores.argmax(1) if classes else scores * std + mean
        return said


def educate(scenes: Scenes, factors: Mapping[str, Factor], seed: int, steps: int) -> Judge:
    """Train a judge on true pictures.

    Half of them are blurred and paler than they are, so that a decoder's blur alone does not mislead it.

    Raises:
        UserError: there is nothing to learn.
    """
    if not factors or not len(scenes.picture):
        raise UserError("a judge needs pictures and something that is known of them")
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        judge = Judge(scenes.picture.shape[1], scenes.where.shape[1], factors)
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=0.05)
    for step in range(steps):
        rows = torch.randint(len(scenes.picture), (BATCH,), generator=rng)
        for group in optimizer.param_groups:
            group["lr"] = RATE * pace(step, steps, max(1, steps // 20))
        said = judge(faded(scenes.picture[rows], rng), scenes.where[rows])
        losses = [judge.loss(name, said[name], factor.values[rows]) for name, factor in factors.items()]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return judge.eval()


def _outputs(factor: Factor) -> int:
    return factor.classes or int(factor.values.shape[1])


def faded(picture: Float[Tensor, "B C H W"], rng: torch.Generator) -> Float[Tensor, "B C H W"]:
    """Half of the pictures blurred, by one to three passes of a binomial filter, and up to half as strong around their mean."""
    b, c = picture.shape[:2]
    soft = picture
    for _ in range(int(torch.randint(1, 4, (), generator=rng))):
        soft = F.conv2d(F.pad(soft, (2, 2, 0, 0), mode="replicate"), BLUR.view(1, 1, 1, 5).expand(c, 1, 1, 5), groups=c)
        soft = F.conv2d(F.pad(soft, (0, 0, 2, 2), mode="replicate"), BLUR.view(1, 1, 5, 1).expand(c, 1, 5, 1), groups=c)
    strength = 1 - 0.5 * torch.rand(b, 1, 1, 1, generator=rng)
    mean = soft.mean((2, 3), keepdim=True)
    chosen = torch.rand(b, 1, 1, 1, generator=rng) < 0.5
    return torch.where(chosen, mean + strength * (soft - mean), picture)
