"""The plain training step that papers describe: naive attention, loops over samples and tensors, every patch embedded.

Nothing here comes from the package but nothing is made slow on purpose either: what a careful reader of the paper writes first.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from benchmarks.contender import Clock, Size, Step, Work, serve
from benchmarks.masks import loop

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Attention(nn.Module):
    """Attention with its matrix written out."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """All tokens attend to all tokens."""
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)  # [B, H, N, N]
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    """Two linear layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Token by token."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = Attention(dim, heads), Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """All tokens in, all tokens out."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def table(side: int, dim: int) -> Tensor:
    """The sine-cosine codes of a square grid, column before row: `[1, N, dim]`."""
    omega = 10000 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [place.flatten()[:, None] * omega for place in (columns, rows)]
    return torch.cat([code for angle in angles for code in (angle.sin(), angle.cos())], 1)[None].float()


def pick(x: Tensor, masks: list[Tensor]) -> Tensor:
    """Gather every mask's tokens and put the results below one another: `[masks * B, K, D]`."""
    return torch.cat([x.gather(1, mask[..., None].expand(-1, -1, x.shape[-1])) for mask in masks])


class Encoder(nn.Module):
    """A vision transformer."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokenizer = nn.Module()
        self.tokenizer.proj = nn.Conv2d(3, size.dim, size.patch, size.patch)
        self.register_buffer("pos", table(size.image // size.patch, size.dim), persistent=False)
        self.blocks = nn.ModuleList(Block(size.dim, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.dim, eps=1e-6)

    def forward(self, images: Tensor, masks: list[Tensor] | None = None) -> Tensor:
        """All patches are embedded; the blocks see the kept ones."""
        x = self.tokenizer.proj(images).flatten(2).transpose(1, 2) + self.pos
        if masks is not None:
            x = pick(x, masks)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Predictor(nn.Module):
    """A narrow vision transformer with mask tokens."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        dim = size.predictor_dim
        self.predictor_embed, self.predictor_proj = nn.Linear(size.dim, dim), nn.Linear(dim, size.dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("pos", table(size.image // size.patch, dim), persistent=False)
        self.predictor_blocks = nn.ModuleList(Block(dim, size.heads) for _ in range(size.predictor_depth))
        self.predictor_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, z: Tensor, seen: list[Tensor], asked: list[Tensor]) -> Tensor:
        """`[M * B, Q, D]`, a sequence for every target."""
        pos = self.pos.expand(len(z), -1, -1)
        x = self.predictor_embed(z) + pick(pos, seen)
        questions = self.mask_token + pick(pos, asked)
        x = torch.cat([x.repeat(len(asked), 1, 1), questions], 1)
        for block in self.predictor_blocks:
            x = block(x)
        return self.predictor_proj(self.predictor_norm(x)[:, -asked[0].shape[1] :])


def build(work: Work) -> Step:
    """The step, on the work's weights and masks."""
    size, device = work.size, work.device
    encoder, predictor = Encoder(size), Predictor(size)
    load(encoder, work.weights, "encoder.")
    load(predictor, work.weights, "predictor.")
    encoder, predictor = encoder.to(device), predictor.to(device)
    target = copy.deepcopy(encoder).requires_grad_(False)
    trained = [*encoder.parameters(), *predictor.parameters()]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.04},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, foreach=False, fused=False)
    normalise = v2.Normalize(MEAN, STD)
    images = normalise(work.images.float() / 255).to(device)
    augment = v2.Compose(
        [
            v2.RandomResizedCrop(size.image, scale=(0.3, 1.0)),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            normalise,
        ]
    )
    rng = torch.Generator().manual_seed(0)

    def photo(path: str) -> Tensor:
        with Image.open(path) as image:
            made: Tensor = augment(image.convert("RGB"))
            return made

    def step(number: int, clock: Clock) -> Tensor:
        with clock("data"):
            torch.stack([photo(path) for path in work.photos])
        with clock("masks"):
            loop(size.image // size.patch, size.batch, rng, min_keep=size.min_keep)
        seen = [work.context[number].to(device)]
        asked = [mask.to(device) for mask in work.target[number].unbind(1)]
        optimizer.zero_grad()
        with work.autocast:
            with clock("target"), torch.no_grad():
                h = pick(F.layer_norm(target(images).float(), (size.dim,)), asked)
            with clock("context"):
                z = encoder(images, seen)
            with clock("predictor"):
                loss = F.smooth_l1_loss(predictor(z, seen, asked).float(), h)
        with clock("backward"):
            loss.backward()
        with clock("optimiser"):
            optimizer.step()
        with clock("EMA"), torch.no_grad():
            for mine, theirs in zip(target.parameters(), encoder.parameters(), strict=True):
                mine.mul_(0.996).add_((1 - 0.996) * theirs)
        return loss

    return step


def load(module: nn.Module, weights: dict[str, Tensor], prefix: str) -> None:
    """Take over the weights under a prefix."""
    module.load_state_dict({n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)})


if __name__ == "__main__":
    serve(build)
