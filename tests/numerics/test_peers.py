"""MAE, VICReg, LeJEPA and data2vec 2 against literal restatements of their formulas, and MAE against transformers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from configs.test_all import GROUPS, composed
from omegaconf import OmegaConf
from torch import Tensor

from modalities.audio.tokenizer import Patches as SoundPatches
from modalities.image.tokenizer import Patches
from modalities.video.tokenizer import Tubelets
from worldjepa.convolutions import ConvDecoder
from worldjepa.encoders import TimmViT, ViT
from worldjepa.errors import UserError
from worldjepa.interfaces import Objective, Tokenizer
from worldjepa.jepa import JEPA, apart, per_view, together
from worldjepa.kept import KeptBlocks
from worldjepa.masks import Random, Whole
from worldjepa.nn.norm import BatchNorm
from worldjepa.objectives import L1, MSE, Cosine, Invariance, SmoothL1
from worldjepa.predictors import MaskTokenViT, Projector
from worldjepa.sigreg import SIGReg, sigreg
from worldjepa.targets import Mutual, Pixels, TopLayers
from worldjepa.train.build import build_model, construct
from worldjepa.types import Batch, Grid, Masks, Tokens


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=rng(seed))


def vit(depth: int = 2) -> ViT:
    torch.manual_seed(0)
    return ViT(Patches(4, 16), dim=16, depth=depth, heads=2)


def objective(name: str) -> Objective:
    made: Objective = construct(OmegaConf.load(GROUPS["objective"][name]), Objective)  # type: ignore[arg-type]
    return made


def sets(x: Tensor) -> Tokens:
    """Predictions for the views of samples: `[B, V, D]`, one question each."""
    return Tokens(x[:, :, None], torch.zeros(*x.shape[:2], 1, 3))


# --- MAE -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [True, False])
def test_pixels_are_those_of_transformers_mae(normalise: bool) -> None:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    config = ViTMAEConfig(**sizes, **decoder, image_size=16, patch_size=4, norm_pix_loss=normalise)
    images = noise(3, 3, 16, 16)
    theirs = ViTMAEForPreTraining(config)(images, noise=torch.rand(3, 16, generator=rng(1)))
    hidden = theirs.mask.nonzero()[:, 1].view(3, 1, 12)  # [B, M, Q]
    (answer,) = Pixels(vit(), normalise)(images, [Masks(hidden, hidden)])
    pred = Tokens(theirs.logits, torch.zeros(3, 16, 3)).select(hidden)
    torch.testing.assert_close(MSE()(pred, answer, pred)["mse"], theirs.loss, rtol=1e-5, atol=1e-6)


TOKENIZERS: list[tuple[Tokenizer, Tensor]] = [
    (Patches(4, 6), torch.randint(256, (2, 3, 8, 12), generator=rng(), dtype=torch.uint8)),
    (Tubelets(4, 6, frames=2), noise(2, 3, 4, 8, 12)),
    (Tubelets(4, 6, frames=2), noise(2, 3, 8, 12)),
    (SoundPatches([4, 16], 6), noise(2, 1, 8, 80)),
]


@pytest.mark.parametrize(("tokenizer", "obs"), TOKENIZERS)
def test_pieces_are_what_tokens_are_projected_from(tokenizer: Any, obs: Tensor) -> None:
    pieces = tokenizer.pieces(obs)
    weight = tokenizer.proj.weight.movedim(1, -1).flatten(1)  # channels fastest, as pieces have them
    expected = pieces.x @ weight.T + tokenizer.proj.bias
    torch.testing.assert_close(expected, tokenizer(obs).x, rtol=1e-4, atol=1e-5)


def test_mae_encodes_what_is_seen_alone_and_its_answers_teach_nothing() -> None:
    config = composed(
        "method=mae", "arch.patch=8", "arch.dim=24", "arch.encoder.heads=2", "arch.encoder.depth=1"
    ).config
    model = build_model(config, steps=10)
    assert model.predictor.predictor_proj.out_features == 64  # type: ignore[union-attr]
    encoded: list[int] = []
    model.encoder.blocks.register_forward_hook(lambda _, given, __: encoded.append(given[0].shape[1]))  # type: ignore[union-attr]
    images = noise(2, 1, 64, 64).requires_grad_()
    masks = Random(0.75)(Grid(1, 8, 8), 2, rng())
    (answer,) = model.target(images, masks)
    assert not answer.x.requires_grad
    torch.stack(list(model(Batch(images, masks)).values())).sum().backward()
    assert encoded == [16]
    assert images.grad is not None
    seen = images.grad.unflatten(2, (8, 8)).unflatten(4, (8, 8)).abs().sum((1, 3, 5)).flatten(1) > 0  # [B, 64]
    for row, (context, at) in enumerate(zip(masks[0].context[:, 0], seen, strict=True)):
        assert at.nonzero().flatten().tolist() == context.tolist(), f"sample {row}: hidden pixels teach nothing"
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_pixels_need_an_encoder_that_has_them() -> None:
    with pytest.raises(UserError, match="TimmViT does not say what its tokens are made of"):
        Pixels(TimmViT("test_vit", image_size=32))


@pytest.mark.parametrize("distance", [MSE(), L1(), SmoothL1(), Cosine()], ids=lambda one: type(one).__name__)
def test_answers_of_another_width_are_refused(distance: Objective) -> None:
    with pytest.raises(UserError, match=r"predictions are 4 wide and answers 6: .* choose all of them by method="):
        distance(sets(noise(2, 2, 4)), sets(noise(2, 2, 6)), sets(noise(2, 2, 4)))


# --- views -----------------------------------------------------------------------------------------------------------


def test_views_are_samples_to_the_parts_and_sets_to_the_objective() -> None:
    encoder = vit()
    seen: list[Tokens] = []

    class Keeps(Objective):
        def forward(
            self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None
        ) -> dict[str, Tensor]:
            seen.extend([pred, target, context])
            return {"loss": pred.x.mean()}

    predictor = MaskTokenViT(16, 12, 1, 2)
    model = JEPA(encoder, predictor, TopLayers(encoder, 10), Keeps(), views=2)
    views = noise(3, 2, 3, 16, 16)
    masks = per_view(Random(0.5), Grid(1, 4, 4), 3, 2, rng())
    assert masks[0].context.shape == (3, 2, 8)
    assert not torch.equal(masks[0].context[:, 0], masks[0].context[:, 1])
    model(Batch(views, masks))
    for view in range(2):
        own = Masks(masks[0].context[:, view, None], masks[0].target[:, view, None])
        context = encoder(views[:, view], own.context)
        (answer,) = model.target(views[:, view], [own])
        expected = [predictor(context, answer.pos), answer, context]
        for found, one in zip(seen, expected, strict=True):
            torch.testing.assert_close(found.x[:, view], one.x[:, 0], rtol=1e-4, atol=1e-5)
            assert torch.equal(found.pos[:, view], one.pos[:, 0])
    tokens = Tokens(noise(6, 1, 5, 4), noise(6, 1, 5, 3))
    assert together(tokens, 2).x.shape == (3, 2, 5, 4)
    with pytest.raises(UserError, match="choose views=none"):
        apart(Batch(views, masks, cond=tokens), 2)


def test_one_view_changes_nothing() -> None:
    batch = Batch(noise(2, 3, 8, 8), [])
    assert apart(batch, 1) is batch
    tokens = sets(noise(2, 3, 4))
    assert together(tokens, 1) is tokens


@pytest.mark.parametrize("name", ["vicreg", "lejepa"])
def test_one_view_has_nothing_to_be_compared_with(name: str) -> None:
    one = sets(noise(4, 1, 6))
    with pytest.raises(UserError, match="choose views="):
        objective(name)(one, one, one)


def test_vicreg_is_its_formula() -> None:
    z = 0.7 * noise(10, 2, 6)
    one, two = z[:, 0], z[:, 1]
    literal = 25 * F.mse_loss(one, two)
    for view in (one, two):
        std = (view.var(0, unbiased=True) + 1e-4).sqrt()
        covariance = torch.cov(view.T)
        literal = literal + 25 * F.relu(1 - std).mean() / 2
        literal = literal + covariance.fill_diagonal_(0).square().sum() / 6
    terms = objective("vicreg")(sets(z), Tokens(z[..., :0, None], z), sets(z))
    assert list(terms) == ["invariance", "variance", "covariance"]
    torch.testing.assert_close(torch.stack(list(terms.values())).sum(), literal, rtol=1e-5, atol=1e-5)


def test_lejepa_is_its_formula() -> None:
    z = noise(12, 4, 5)
    inv = ((z.mean(1, keepdim=True) - z) ** 2).mean()
    statistics = []
    for view in z.unbind(1):
        # The same directions as the term draws, and the integral over the whole line, finely.
        seed = int((16 * view).round().long().sum()) & ((1 << 63) - 1)
        ways = torch.randn(5, 256, generator=rng(seed))
        p = (view @ (ways / ways.norm(dim=0))).double()  # [N, S]
        t = torch.linspace(-3, 3, 6001, dtype=torch.float64)
        phi = torch.exp(1j * p[..., None] * t[::60]).mean(0)
        gauss = torch.exp(-(t[::60] ** 2) / 2)
        statistics.append(12 * torch.trapezoid((phi - gauss).abs() ** 2 * gauss, t[::60]).mean())
    literal = 0.98 * inv + 0.02 * torch.stack(statistics).mean()
    terms = objective("lejepa")(sets(z), sets(z[..., :0]), sets(z))
    assert list(terms) == ["invariance", "sigreg"]
    assert float(torch.stack(list(terms.values())).sum()) == pytest.approx(float(literal), rel=2e-3)


def test_statistics_are_those_of_each_view_by_itself() -> None:
    z = noise(30, 2, 4)
    each = [sigreg(view.contiguous(), 16) for view in z.unbind(1)]
    term = SIGReg(directions=16, of="predictions")(sets(z), sets(z), sets(z))["sigreg"]
    torch.testing.assert_close(term, torch.stack(each).mean())
    apart_by = Invariance(weight=4.0)(sets(z), sets(z), sets(z))["invariance"]
    torch.testing.assert_close(apart_by, F.mse_loss(z[:, 0], z[:, 1]))


@pytest.mark.parametrize("name", ["vicreg", "lejepa"])
def test_a_gradient_reaches_every_view_and_every_weight(name: str) -> None:
    words = ["arch.dim=24", "arch.encoder.heads=2", "arch.encoder.depth=1", "predictor.hidden=16", "predictor.dim=8"]
    model = build_model(composed(f"method={name}", "arch.patch=8", *words).config, steps=10)
    views = model.views
    assert views == {"vicreg": 2, "lejepa": 4}[name]
    images = noise(4, views, 1, 32, 32).requires_grad_()
    masks = per_view(Whole(), Grid(1, 4, 4), 4, views, rng())
    torch.stack(list(model(Batch(images, masks)).values())).sum().backward()
    assert images.grad is not None
    assert bool((images.grad.flatten(2).abs().sum(-1) > 0).all())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_collapse_is_told_by_the_loss() -> None:
    spread, collapsed = noise(64, 2, 1, 8).expand(-1, -1, 2, -1)[:, :, 0], torch.zeros(64, 2, 8)
    spread = spread[:, :1].expand(-1, 2, -1)  # both alike, and different from sample to sample
    for name in ("vicreg", "lejepa"):
        good, bad = (sum(objective(name)(sets(z), sets(z[..., :0]), sets(z)).values()) for z in (spread, collapsed))
        assert float(good) < 0.5 * float(bad), name


def test_no_answers_cost_nothing() -> None:
    encoder = vit()
    calls: list[int] = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    (answer,) = Mutual(encoder)(noise(2, 3, 16, 16), Whole()(Grid(1, 4, 4), 2, rng()))
    assert answer.x.shape == (2, 1, 1, 0)
    assert not calls


def test_batch_norm_is_pytorchs() -> None:
    ours, theirs = BatchNorm(5), torch.nn.BatchNorm1d(5)
    for seed in range(3):
        x = 2 * noise(20, 5, seed=seed) + 1
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.mean, theirs.running_mean, rtol=1e-4, atol=1e-5)
    # PyTorch's running variance is the unbiased one.
    assert theirs.running_var is not None
    torch.testing.assert_close(ours.var - 0.9**3, (theirs.running_var - 0.9**3) * 19 / 20, rtol=1e-4, atol=1e-5)
    before = ours.mean.clone()
    with torch.no_grad():
        ours(noise(20, 5))
    assert torch.equal(before, ours.mean), "a measurement leaves no trace"
    ours(torch.full((4, 5), torch.nan))
    assert torch.equal(before, ours.mean), "nor does a step that is skipped"


def test_a_projector_reads_the_mean() -> None:
    projector = Projector(6, 3, 8).eval()
    context = Tokens(noise(2, 1, 5, 6), noise(2, 1, 5, 3))
    found = projector(context, torch.zeros(2, 1, 4, 3)).x
    expected = projector.net(context.x.mean(2))[:, :, None].expand(-1, -1, 4, -1)
    torch.testing.assert_close(found, expected)


# --- data2vec 2 ------------------------------------------------------------------------------------------------------


def test_layers_are_those_of_a_pass() -> None:
    encoder = vit(3)
    images = noise(2, 3, 16, 16)
    outputs: list[Tensor] = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda _, __, out: outputs.append(out))
    whole = encoder(images)
    layers = encoder.layers(images, normed=False)
    assert all(torch.equal(layer.x, out) for layer, out in zip(layers, outputs, strict=False))
    torch.testing.assert_close(encoder.norm(layers[-1].x), whole.x)


@pytest.mark.parametrize(("share", "count"), [(0.8, 3), (0.3, 1), (1.0, 4)])
def test_top_layers_are_normalised_averaged_and_normalised(share: float, count: int) -> None:
    encoder = vit(4)
    target = TopLayers(encoder, 10, share=share)
    images = noise(2, 3, 16, 16)
    masks = KeptBlocks(contexts=3)(Grid(1, 4, 4), 2, rng())
    passes: list[int] = []
    target.encoder.blocks[0].register_forward_hook(lambda *_: passes.append(1))  # type: ignore[index, union-attr]
    answers = target(images, [*masks, *masks])
    assert len(passes) == 1, "all masks share one pass"
    layers = [layer.x for layer in encoder.layers(images, normed=False)][-count:]
    normed = []
    for x in layers:
        mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        normed.append((x - mean) / (var + 1e-5).sqrt())
    expected = F.layer_norm(torch.stack(normed).mean(0), (16,))
    found = Tokens(expected, torch.zeros(2, 16, 3)).select(masks[0].target).x
    torch.testing.assert_close(answers[0].x, found, rtol=1e-4, atol=1e-5)
    assert not answers[0].x.requires_grad


def test_the_decoder_is_a_convolution_over_the_whole_lattice() -> None:
    torch.manual_seed(0)
    decoder = ConvDecoder(6, 8, 2, groups=2)
    (masks,) = KeptBlocks(0.7, 2, 1)(Grid(1, 5, 4), 3, rng())
    pos = Grid(1, 5, 4).pos()
    context = Tokens(noise(3, 1, masks.context.shape[-1], 6), pos[masks.context])
    cells = decoder.mask_token.expand(3, 20, 8).scatter(
        1, masks.context[:, 0, :, None].expand(-1, -1, 8), decoder.predictor_embed(context.x)[:, 0]
    )
    x = cells.transpose(1, 2).reshape(3, 8, 5, 4)
    for convolution in decoder.convolutions:
        weight = convolution.weight[:, :, 0]  # type: ignore[index]
        y = F.conv2d(x, weight, convolution.bias, padding=1, groups=2)  # type: ignore[arg-type]
        x = x + F.gelu(F.layer_norm(y.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2))
    out = decoder.predictor_proj(x.flatten(2).transpose(1, 2))  # [3, 20, 6]
    expected = out.gather(1, masks.target[:, 0, :, None].expand(-1, -1, 6))
    found = decoder(context, pos[masks.target]).x[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_kept_blocks_hide_what_they_say_and_see_every_token_equally_often() -> None:
    grid, draws = Grid(1, 8, 8), 500
    (masks,) = KeptBlocks(0.8, 3, 8)(grid, draws, rng())
    assert masks.context.shape == (draws, 8, 13)
    assert masks.target.shape == (draws, 8, 51)
    every = torch.cat([masks.context, masks.target], -1).sort(-1).values
    assert torch.equal(every, torch.arange(64).expand_as(every))
    share = masks.context.flatten().bincount(minlength=64) / (8 * draws)
    deviation = math.sqrt(0.2 * 0.8 / (8 * draws))
    assert float((share - 13 / 64).abs().max()) < 5 * deviation
    seen = torch.zeros(draws * 8, 64).scatter(1, masks.context.flatten(0, 1), 1.0).view(-1, 8, 8)
    together_by = (seen[:, :, 1:] * seen[:, :, :-1]).mean() / (13 / 64) ** 2
    assert float(together_by) > 2, "what is seen comes in blocks"
    (clips,) = KeptBlocks(0.8, 3, 2)(Grid(3, 8, 8), 2, rng())
    assert torch.equal(clips.context[..., :13] + 64, clips.context[..., 13:26])
    for ratio, word in ((0.01, "ask"), (0.999, "see")):
        with pytest.raises(UserError, match=f"nothing is left to {word}"):
            KeptBlocks(ratio)(Grid(1, 4, 4), 1, rng())


def test_a_decoder_needs_groups_that_divide() -> None:
    with pytest.raises(UserError, match=r"predictor\.groups=5 does not divide predictor\.dim=12"):
        ConvDecoder(6, 12, groups=5)
    with pytest.raises(UserError, match="kernel odd"):
        ConvDecoder(6, 12, kernel=2, groups=1)
