"""Encoders: the vision transformer of I-JEPA for any tokenizer, and timm's vision transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.errors import UserError, suggest
from worldjepa.interfaces import Encoder, Tokenizer, which_layers
from worldjepa.nn.blocks import NORM_EPS, Transformer
from worldjepa.nn.init import Scheme, initialise
from worldjepa.nn.positions import Positions, SinCos
from worldjepa.types import Grid, Tokens


@final
class ViT(Encoder):
    """The encoder of I-JEPA and V-JEPA: tokens that know their places, transformer blocks, a final layer norm. No class token.

    Tokens keep their positions when others are dropped, and dropped tokens cost nothing.

    Args:
        tokenizer: cuts observations into tokens of width `dim`.
        dim: width D.
        depth: number of blocks.
        heads: attention heads; must divide `dim`.
        mlp_ratio: hidden width of the MLPs over `dim`.
        positions: how tokens tell where they stand; by default I-JEPA's code, `SinCos("wh")`.
        init: see `worldjepa.nn.init.initialise`.
        norm_eps: epsilon of all layer norms.

    Source: I-JEPA (arXiv 2301.08243), `src/models/vision_transformer.py` of its repository.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        positions: Positions | None = None,
        init: Scheme = "normal",
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"encoder width {dim} does not divide among {heads} heads")
        if tokenizer.dim != dim:
            raise UserError(f"the tokenizer makes tokens of width {tokenizer.dim}, the encoder expects {dim}")
        self.dim = dim
        self.heads = heads
        self.positions = SinCos() if positions is None else positions
        self.positions.check(dim, heads)
        self.tokenizer = tokenizer
        self.blocks = Transformer(dim, depth, heads, mlp_ratio, norm_eps)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        initialise(self, init)

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The tokenizer's lattice."""
        return self.tokenizer.grid(obs_shape)

    def coordinates(self, obs_shape: Sequence[int]) -> Float[Tensor, "N 3"]:
        """Where the position code wants the cells of the lattice to stand."""
        return self.positions.coordinates(self.grid(obs_shape))

    @property
    def piece_dim(self) -> int:
        """The tokenizer's."""
        return self.tokenizer.piece_dim

    def pieces(self, obs: Tensor) -> Tokens:
        """The tokenizer's, at the coordinates of the position code."""
        tokens = self.tokenizer.pieces(obs)
        return Tokens(tokens.x, self._everywhere(obs))

    def forward(self, obs: Tensor | Tokens, keep: Int[Tensor, "B C K"] | None = None) -> Tokens:
        """Encode all tokens, x `[B, N, D]`, or the kept ones of each context set on their own, x `[B, C, K, D]`."""
        tokens = self._tokens(obs, keep)
        if keep is None:
            return Tokens(self._encoded(tokens), tokens.pos)
        # Folded before the sum: `torch.compile` takes a tensor of its own and a view of another for two cases.
        folded = self._encoded(Tokens(tokens.x.flatten(0, 1), tokens.pos.flatten(0, 1)))  # [B*C, K, D]
        return Tokens(folded.reshape(tokens.x.shape), tokens.pos)

    def layers(self, obs: Tensor | Tokens, wanted: Sequence[int] | None = None, normed: bool = True) -> list[Tokens]:
        """What the blocks make of a whole observation, each through the final norm unless `normed` is false."""
        layers = which_layers(wanted, len(self.blocks))
        tokens = self._tokens(obs, None)
        rotation = self.positions.rotation(tokens.pos, self.dim // self.heads)
        outputs = self.blocks.each(self.positions.added(tokens), layers, rotation)
        norm = self.norm if normed else nn.Identity()
        return [Tokens(norm(outputs[layer]), tokens.pos) for layer in layers]

    def stages(self) -> list[list[nn.Parameter]]:
        """Tokenizer and positions, each block, the final norm."""
        return [
            [*self.tokenizer.parameters(), *self.positions.parameters()],
            *(list(block.parameters()) for block in self.blocks),
            list(self.norm.parameters()),
        ]

    def _tokens(self, obs: Tensor | Tokens, keep: Int[Tensor, "B C K"] | None) -> Tokens:
        """Tokens at the coordinates of the position code: all of them, or the kept ones of each set."""
        if isinstance(obs, Tokens):
            return obs if keep is None else obs.select(keep)
        tokens: Tokens = self.tokenizer(obs) if keep is None else self.tokenizer.visible(obs, keep)
        pos = self._everywhere(obs)  # [B, N, 3]
        return Tokens(tokens.x, pos if keep is None else pos[0][keep])

    def _everywhere(self, obs: Tensor) -> Float[Tensor, "B N 3"]:
        return self.positions.coordinates(self.grid(obs.shape[1:]), obs.device).expand(len(obs), -1, -1)

    def _encoded(self, tokens: Tokens) -> Float[Tensor, "B N D"]:
        rotation = self.positions.rotation(tokens.pos, self.dim // self.heads)
        out: Tensor = self.norm(self.blocks(self.positions.added(tokens), rotation=rotation))
        return out


@final
class TimmViT(Encoder):
    """A vision transformer of timm as the encoder, by its timm name; class and register tokens are left out.

    Args:
        name: a timm model of the `VisionTransformer` family, such as `vit_small_patch16_224`.
        image_size: side of the square input in pixels.
        channels: input channels.
        mean: per-channel mean of uint8 observations scaled to [0, 1]; timm's own for the model by default.
        std: likewise.
        pretrained: load timm's weights (needs network access or a filled cache).

    Raises:
        UserError: no such model, or a model of another family.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        image_size: int = 224,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        import timm
        from timm.models.vision_transformer import VisionTransformer

        if not timm.is_model(name):
            raise UserError(f"timm has no model '{name}'{suggest(name, timm.list_models('vit*'))}")
        if timm.models.model_entrypoint(name).__module__ != VisionTransformer.__module__:
            raise UserError(f"timm's '{name}' is not of the VisionTransformer family; see `timm.list_models('vit*')`")
        model = timm.create_model(
            name,
            pretrained=pretrained,
            img_size=image_size,
            in_chans=channels,
            num_classes=0,
            class_token=False,
            reg_tokens=0,
            global_pool="",
            fc_norm=False,
        )
        if not isinstance(model, VisionTransformer) or model.num_prefix_tokens:
            raise UserError(
                f"timm's '{name}' keeps {model.num_prefix_tokens} prefix tokens, which this encoder cannot place"
            )
        self.model = model
        self.dim = int(model.num_features)
        self.image_size = image_size
        self.channels = channels
        own = timm.get_pretrained_cfg(name) if channels == 3 else None
        for key, given in (("mean", mean), ("std", std)):
            values = given or (getattr(own, key) if own is not None else [0.5] * channels)
            self.register_buffer(key, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The lattice of the model's patches; the shape must be the one that the model was built for."""
        if tuple(obs_shape) != (self.channels, self.image_size, self.image_size):
            raise UserError(
                f"this timm encoder was built for observations {(self.channels, self.image_size, self.image_size)}, "
                f"not {tuple(obs_shape)}; set arch.encoder.image_size and arch.encoder.channels"
            )
        h, w = self.model.patch_embed.grid_size
        return Grid(1, h, w)

    def forward(self, obs: Tensor | Tokens, keep: Int[Tensor, "B C K"] | None = None) -> Tokens:
        """Encode all tokens, x `[B, N, D]`, or the kept ones of each context set on their own, x `[B, C, K, D]`."""
        tokens = self._embedded(obs)
        if keep is not None:
            tokens = tokens.select(keep)
        x = tokens.x.flatten(0, -3)  # [B*C, K, D]
        x = self.model.norm(self.model.blocks(self.model.norm_pre(x)))
        return Tokens(x.view(tokens.x.shape), tokens.pos)

    def layers(self, obs: Tensor | Tokens, wanted: Sequence[int] | None = None, normed: bool = True) -> list[Tokens]:
        """What the blocks make of a whole observation, each through the final norm unless `normed` is false."""
        layers = which_layers(wanted, len(self.model.blocks))
        tokens = self._embedded(obs)
        x, outputs = self.model.norm_pre(tokens.x), {}
        norm = self.model.norm if normed else nn.Identity()
        for i, block in enumerate(self.model.blocks):
            x = block(x)
            if i in layers:
                outputs[i] = norm(x)
        return [Tokens(outputs[layer], tokens.pos) for layer in layers]

    def stages(self) -> list[list[nn.Parameter]]:
        """What embeds, each block, the final norm."""
        blocks = [list(block.parameters()) for block in self.model.blocks]
        last = list(self.model.norm.parameters())
        known = {id(parameter) for stage in (*blocks, last) for parameter in stage}
        return [[parameter for parameter in self.parameters() if id(parameter) not in known], *blocks, last]

    def _embedded(self, obs: Tensor | Tokens) -> Tokens:
        """All patches with the position code."""
        if isinstance(obs, Tokens):
            raise UserError("a timm encoder takes images, not tokens")
        pos = self.grid(obs.shape[1:]).pos(obs.device).expand(obs.shape[0], -1, -1)  # [B, N, 3]
        if not obs.is_floating_point():
            obs = (obs.to(self.mean.dtype) / 255 - self.mean) / self.std
        return Tokens(self.model._pos_embed(self.model.patch_embed(obs)), pos)
