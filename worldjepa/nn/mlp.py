"""The two layers between attention and attention."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """Two linear layers with a GELU between; parameter names and order of initialisation are those of timm's `Mlp`.

    Not timm's, because importing anything of timm imports all its models and torchvision.

    Args:
        dim: width of the input and the output.
        hidden: width between.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape D"]:
        """Each token by itself."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out
