"""What loading a checkpoint returns: an encoder, its predictor if there is one, and the two questions one asks of them."""

from __future__ import annotations

from typing import Any, final

from jaxtyping import Int
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder, Predictor
from worldjepa.predictors import MaskTokenViT
from worldjepa.types import Tokens


@final
class Pretrained(nn.Module):
    """An encoder and its predictor, ready to use; in evaluation mode, with gradients, to be fine-tuned like any module.

    Args:
        encoder: represents observations.
        predictor: predicts representations; None where the file has none.
        facts: how the parts are built (`encoder`, `predictor`), the `layout`, the `image` shape (channels, frames of
            clips, height, width), `view`, `licence` and `steps`.
    """

    def __init__(self, encoder: Encoder, predictor: Predictor | None, facts: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.facts = facts

    @property
    def dim(self) -> int:
        """Width of the representations, D."""
        return self.encoder.dim

    def encode(self, images: Tensor, context: Int[Tensor, "B K"] | None = None) -> Tokens:
        """Represent whole observations, x `[B, N, D]`, or only their tokens `context`, x `[B, K, D]`.

        Args:
            images: uint8 `[B, C, H, W]`, clips `[B, C, T, H, W]`, or trajectories `[B, T, C, H, W]`, normalised here; or
                floating-point ones that are normalised already.
            context: indices of tokens in row-major order, those of clips frame by frame; the encoder sees no others.

        Raises:
            UserError: the observations cannot be cut into tokens, or an index is not one of theirs.
        """
        if context is None:
            return self.encoder(images)  # type: ignore[no-any-return]
        self._check(images, context, "context")
        tokens: Tokens = self.encoder(images, keep=context[:, None])  # [B, 1, K, D]
        return Tokens(tokens.x.squeeze(1), tokens.pos.squeeze(1))

    def predict(
        self,
        images: Tensor,
        context: Int[Tensor, "B K"],
        target: Int[Tensor, "B M Q"],
        mask_token: int = 0,
        cond: Tokens | None = None,
    ) -> Tokens:
        """Predict the representations of M sets of tokens from those of the context, x `[B, M, Q, D]`.

        Target sets are predicted one by one: none sees what another one asks. A prediction is compared with
        representations that are layer-normed over their features, as in training.

        Args:
            images: as for `encode`; only the tokens of the context are looked at.
            context: indices of the tokens that are seen.
            target: indices of the tokens that are asked.
            mask_token: which of the predictor's learned tokens asks; V-JEPA has several.
            cond: the actions x `[B, A, W]` at the times pos `[B, A, 3]` that they leave, for predictors that take them.

        Raises:
            UserError: the checkpoint holds no predictor or has no such token; or as `encode`.
        """
        if self.predictor is None:
            raise UserError(
                f"these weights ({self.facts.get('layout')}) hold an encoder only: there is no predictor to ask"
            )
        count = len(self.predictor.mask_token) if isinstance(self.predictor, MaskTokenViT) else None
        if count is not None and not 0 <= mask_token < count:
            raise UserError(f"mask_token={mask_token}: the predictor has {count}, counted from 0")
        self._check(images, context, "context")
        self._check(images, target, "target")
        seen: Tokens = self.encoder(images, keep=context[:, None])  # [B, 1, K, D]
        pos = self.encoder.coordinates(images.shape[1:]).to(seen.pos)  # [N, 3]
        return self.predictor(seen, pos[target], cond, mask=mask_token)  # type: ignore[no-any-return]

    def _check(self, images: Tensor, indices: Tensor, name: str) -> None:
        tokens = self.encoder.grid(images.shape[1:]).size
        if len(indices) != len(images):
            raise UserError(f"{name} has {len(indices)} rows for {len(images)} observations")
        if not indices.numel() or int(indices.min()) < 0 or int(indices.max()) >= tokens:
            raise UserError(f"{name} must hold indices from 0 to {tokens - 1}: there are {tokens} tokens")
