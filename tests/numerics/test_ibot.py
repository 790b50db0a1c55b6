"""iBOT's student, teacher and cross-entropy against literal restatements."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from configs.test_all import GROUPS
from omegaconf import OmegaConf
from torch import Tensor

from modalities.image.tokenizer import Patches
from worldjepa import distillation
from worldjepa.distillation import NOWHERE, CrossEntropy, Prototypes, Teacher
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.interfaces import MaskSampler
from worldjepa.jepa import JEPA, per_view
from worldjepa.masks import Random
from worldjepa.predictors import MaskTokenViT
from worldjepa.train.build import construct
from worldjepa.types import Batch, Grid, Masks, Tokens


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=rng(seed))


def make() -> JEPA:
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 16), dim=16, depth=1, heads=2)
    predictor = Prototypes(16, 12, 1, 2, prototypes=10, hidden=12, bottleneck=6)
    return JEPA(encoder, predictor, Teacher(encoder, predictor, 20, 0.5, warm_up=0.5), CrossEntropy(), views=2)


def batch(seed: int = 0) -> Batch:
    return Batch(noise(3, 2, 3, 16, 16, seed=seed), per_view(Random(0.5), Grid(1, 4, 4), 3, 2, rng(seed)))


def head(x: Tensor, module: Prototypes | Teacher) -> Tensor:
    """Cosines with the prototypes, written out."""
    first, _, second, _, third = module.head.net
    z = third(F.gelu(second(F.gelu(first(x)))))
    w = module.head.prototypes
    return (z / z.norm(dim=-1, keepdim=True)) @ (w / w.norm(dim=-1, keepdim=True)).T


def test_three_steps_are_those_of_the_paper() -> None:
    model = make()
    student, teacher = model.predictor, model.target
    assert isinstance(student, Prototypes)
    assert isinstance(teacher, Teacher)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    centre_whole, centre_tokens = torch.zeros(10), torch.zeros(10)
    for step in range(3):
        current = batch(step)
        (masks,) = current.masks
        temperature = 0.04 + (0.07 - 0.04) * step / 10
        views, scores = [], []
        for v in range(2):
            images = current.obs[:, v]  # type: ignore[index]
            whole = teacher.encoder(images).x  # [B, N, D]
            index = masks.target[:, v]
            asked = whole.gather(1, index[..., None].expand(-1, -1, 16))
            seen = model.encoder(images, masks.context[:, v, None])
            at = torch.cat([torch.full((3, 1, 3), -1.0), Grid(1, 4, 4).pos()[index]], 1)
            patches = student.tokens(seen, at[:, None]).x[:, 0, 1:]
            scores.append((head(whole.mean(1), teacher), head(asked, teacher)))
            views.append((head(seen.x[:, 0].mean(1), student) / 0.1, head(patches, student) / 0.1))
        answers = [
            (((w - centre_whole) / temperature).softmax(-1), ((t - centre_tokens) / temperature).softmax(-1))
            for w, t in scores
        ]
        literal_tokens = sum(-(answers[v][1] * views[v][1].log_softmax(-1)).sum(-1).mean() / 2 for v in range(2))
        literal_views = sum(
            -(answers[w][0] * views[v][0].log_softmax(-1)).sum(-1).mean() / 2 for v, w in ((0, 1), (1, 0))
        )
        optimizer.zero_grad()
        terms = model(current)
        assert list(terms) == ["tokens", "views"]
        torch.testing.assert_close(terms["tokens"], literal_tokens, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(terms["views"], literal_views, rtol=1e-4, atol=1e-5)
        (terms["tokens"] + terms["views"]).backward()  # type: ignore[no-untyped-call]
        assert all(parameter.grad is None for parameter in teacher.parameters()), "the teacher gets none"
        assert all(p.grad is not None for part in (model.encoder, student) for p in part.parameters())
        optimizer.step()
        before = [p.clone() for p in teacher.head.parameters()]
        moved = model.update(step)
        assert moved == {"ema": 0.5 + 0.5 * step / 20, "teacher_temperature": pytest.approx(temperature)}
        for old, new, theirs in zip(before, teacher.head.parameters(), student.head.parameters(), strict=True):
            torch.testing.assert_close(new, moved["ema"] * old + (1 - moved["ema"]) * theirs)
        centre_whole = 0.9 * centre_whole + 0.1 * torch.cat([w for w, _ in scores]).mean(0).detach()
        centre_tokens = 0.9 * centre_tokens + 0.1 * torch.cat([t for _, t in scores]).mean((0, 1)).detach()
        torch.testing.assert_close(teacher.centres, torch.stack([centre_whole, centre_tokens]), rtol=1e-4, atol=1e-6)


def test_measuring_leaves_no_trace_and_neither_do_skipped_steps() -> None:
    model, current = make(), batch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model(current)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model(current._replace(obs=current.obs * torch.nan))  # type: ignore[operator]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model(current)
    assert bool((model.state_dict()["target.sums"] != before["target.sums"]).any())


def test_the_whole_is_asked_for_nowhere() -> None:
    model, current = make(), batch()
    images = current.obs.flatten(0, 1)  # type: ignore[union-attr]
    masks = [Masks(*(part.flatten(0, 1)[:, None] for part in mask)) for mask in current.masks]
    (answer,) = model.target(images, masks)
    assert answer.x.shape == (6, 1, 9, 10)
    assert bool((answer.pos[:, :, 0] == NOWHERE).all())
    torch.testing.assert_close(answer.x.exp().sum(-1), torch.ones(6, 1, 9))
    context = model.encoder(images, masks[0].context)
    found = model.predictor(context, answer.pos).x
    swapped = Tokens(context.x, context.pos.flip(2))
    again = model.predictor(swapped, answer.pos).x
    torch.testing.assert_close(found[:, :, 0], again[:, :, 0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[:, :, 1:], again[:, :, 1:])


def test_its_parts_belong_together() -> None:
    encoder = ViT(Patches(4, 16), dim=16, depth=1, heads=2)
    with pytest.raises(UserError, match="predictor=ibot; MaskTokenViT has none"):
        Teacher(encoder, MaskTokenViT(16, 12, 1, 2), 10)
    one = Tokens(noise(2, 1, 3, 4), torch.zeros(2, 1, 3, 3))
    with pytest.raises(UserError, match=r"choose views=, such as .*views=ibot"):
        CrossEntropy()(one, one, one)
    with pytest.raises(UserError, match="cold <= warm"):
        Teacher(encoder, make().predictor, 10, cold=0.1)
    with pytest.raises(UserError, match=r"predictor\.prototypes must be at least 2"):
        Prototypes(16, 12, 1, 2, prototypes=1)


def test_as_configured_it_hides_a_twentieth_to_a_half() -> None:
    sampler: MaskSampler = construct(OmegaConf.load(GROUPS["masks"]["ibot"]), MaskSampler)  # type: ignore[arg-type, type-abstract]
    shares = [sampler(Grid(1, 14, 14), 4, rng(seed))[0].target.shape[-1] / 196 for seed in range(12)]
    assert min(shares) > 0.05
    assert max(shares) < 0.55
    assert max(shares) - min(shares) > 0.15


def test_centres_move_to_the_scores_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two processes has half of a batch; the mean over processes is handed in."""
    whole = Batch(noise(8, 2, 3, 16, 16), per_view(Random(0.5), Grid(1, 4, 4), 8, 2, rng()))
    halves = [
        Batch(whole.obs[rows], [Masks(*(part[rows] for part in mask)) for mask in whole.masks])  # type: ignore[index]
        for rows in (slice(0, 4), slice(4, 8))
    ]
    means: list[Tensor] = []

    def told(mean: Tensor) -> Tensor:
        means.append(mean)
        return mean

    monkeypatch.setattr(distillation, "mean_over_ranks", told)
    for half in halves:
        make()(half)
    monkeypatch.setattr(distillation, "mean_over_ranks", lambda _: torch.stack(means).mean(0))
    shared, alone = make(), make()
    shared(halves[0])
    monkeypatch.undo()
    alone(whole)
    for model in (shared, alone):
        model.update(0)
    torch.testing.assert_close(shared.target.centres, alone.target.centres, rtol=1e-4, atol=1e-6)
