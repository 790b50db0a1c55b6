"""The objectives that keep a learned encoder from collapsing, against what they must be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from worldjepa.errors import UserError
from worldjepa.nn.actions import ActionSpec
from worldjepa.nn.norm import BatchNorm
from worldjepa.objectives import VarianceCovariance
from worldjepa.over_time import InverseDynamics, TimeSimilarity
from worldjepa.sigreg import SIGReg, sigreg
from worldjepa.types import Grid, Tokens


def answers(x: torch.Tensor) -> Tokens:
    """Vectors `[B, T, D]` as one target set of frames in a row."""
    return Tokens(x[:, None], Grid(x.shape[1]).pos().expand(len(x), 1, -1, -1))


def gaussian(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_sigreg_is_the_integral_that_defines_it() -> None:
    z = 1.5 * gaussian(40, 1) + 0.3  # in one dimension every direction is ±1, and the test is even
    t = torch.linspace(-3, 3, 20_001, dtype=torch.float64)
    phi = torch.exp(1j * z.double() * t).mean(0)
    apart = (phi - torch.exp(-t.square() / 2)).abs().square() * torch.exp(-t.square() / 2)
    assert float(sigreg(z, 4)) == pytest.approx(float(torch.trapezoid(apart, t)), rel=1e-3)


def test_sigreg_prefers_the_normal_distribution() -> None:
    z = gaussian(2_000, 8)
    scores = {
        "normal": z,
        "wide": 2 * z,
        "narrow": 0.3 * z,
        "shifted": z + 0.5,
        "collapsed": 0 * z,
        "line": z[:, :1].expand(-1, 8),
    }
    found = {name: float(sigreg(x.contiguous(), 64)) for name, x in scores.items()}
    assert found["normal"] < 0.002
    assert all(value > 3 * found["normal"] for name, value in found.items() if name != "normal")
    assert max(found, key=lambda name: found[name]) == "collapsed"


def test_sigreg_draws_other_directions_for_other_samples() -> None:
    term = SIGReg(directions=2)
    z = [gaussian(50, 6, seed).requires_grad_() for seed in (0, 0, 1)]
    same, again, other = (term(answers(x[:, None]), answers(x[:, None]), answers(x[:, None]))["sigreg"] for x in z)
    assert torch.equal(same, again)
    assert not torch.equal(same, other)
    counted = SIGReg(directions=2, count=True)(*(answers(z[0][:, None]) for _ in range(3)))["sigreg"]
    assert torch.allclose(counted, 50 * same)


def in_two(rank: int, folder: str) -> None:
    """Half of the samples through a layer in each of two processes; the gradient is averaged as in training."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(gaussian(3, 4, 5))
        layer.bias.zero_()
    mine = slice(10 * rank, 10 * rank + 10)
    term = sigreg(layer(gaussian(20, 4)[mine]), 16)
    term.backward()  # type: ignore[no-untyped-call]
    assert layer.weight.grad is not None
    dist.all_reduce(layer.weight.grad)
    found = of_views(mine)
    dist.all_reduce(found["view_gradient"])
    found["view_gradient"] /= 2
    if rank == 0:  # one process alone may measure: nobody is waited for
        with torch.no_grad():
            sigreg(gaussian(20, 4), 16)
            of_views(mine, teach=False)
    torch.save({**found, "term": term.detach(), "gradient": layer.weight.grad / 2}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def of_views(rows: slice, teach: bool = True) -> dict[str, torch.Tensor]:
    """VICReg's terms on batch-normalised views of some rows, a gradient, and what the normalisation remembers."""
    norm = BatchNorm(5)
    norm.weight.data = gaussian(5, 1, 3)[:, 0]
    z = norm(gaussian(40, 5).view(20, 2, 5)[rows]).tanh()
    tokens = Tokens(z[:, :, None], torch.zeros(*z.shape[:2], 1, 3))
    terms = VarianceCovariance(1.0, 1.0, of="predictions")(tokens, tokens, tokens)
    if teach:
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradient = torch.zeros(5) if norm.weight.grad is None else norm.weight.grad
    terms = {name: value.detach() for name, value in terms.items()}
    return {**terms, "view_gradient": gradient, "mean": norm.mean, "var": norm.var}


def test_statistics_of_two_processes_are_those_of_all_samples(tmp_path: Path) -> None:
    mp.spawn(in_two, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    weight = gaussian(3, 4, 5).requires_grad_()
    term = sigreg(gaussian(20, 4) @ weight.T, 16)
    term.backward()  # type: ignore[no-untyped-call]
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for part in parts:
        assert torch.allclose(part["term"], term, atol=1e-5)
        assert torch.allclose(part["gradient"], weight.grad, atol=1e-5)
        for name, value in of_views(slice(0, 20)).items():
            assert torch.allclose(part[name], value, rtol=1e-4, atol=1e-5), name


def test_inverse_dynamics_pairs_frames_with_the_action_between_them() -> None:
    torch.manual_seed(0)
    spec = ActionSpec(2)
    term = InverseDynamics(4, spec, hidden=8)
    x, acts = torch.randn(3, 5, 4), torch.randn(3, 6, 2)
    target = Tokens(x[:, None], Grid(7).pos()[2:].expand(3, 1, -1, -1))  # frames 2 to 6
    cond = Tokens(acts, Grid(6).pos().expand(3, -1, -1))
    expected = [(term.net(torch.cat([x[:, i], x[:, i + 1]], -1)) - acts[:, 2 + i]).square().mean() for i in range(4)]
    found = term(target, target, target, cond)["inverse_dynamics"]
    assert torch.allclose(found, torch.stack(expected).mean(), atol=1e-6)
    backwards = Tokens(acts.flip(1), cond.pos.flip(1))
    assert torch.allclose(found, term(target, target, target, backwards)["inverse_dynamics"])
    with pytest.raises(UserError, match="needs actions"):
        term(target, target, target)
    with pytest.raises(UserError, match="no action is known"):
        term(target, target, target, Tokens(acts[:, :4], cond.pos[:, :4]))


def test_time_similarity_is_the_squared_step() -> None:
    x = torch.arange(12.0).view(1, 4, 3) ** 2
    expected = (x[:, 1:] - x[:, :-1]).square().mean()
    assert torch.equal(TimeSimilarity(2.0)(*(answers(x) for _ in range(3)))["time_similarity"], 2 * expected)
    gap = Tokens(x[:, None, ::2], Grid(4).pos()[::2].expand(1, 1, -1, -1))
    for wrong in (gap, answers(x.flip(1))._replace(pos=answers(x).pos.flip(2)), answers(x[:, :1])):
        with pytest.raises(UserError, match="masks=future"):
            TimeSimilarity()(wrong, wrong, wrong)


def test_statistics_of_answers_are_over_all_frames() -> None:
    x = gaussian(200, 4).view(20, 10, 4).requires_grad_()
    term = VarianceCovariance(1.0, 1.0, of="answers")
    good, flat = (term(*(answers(z) for _ in range(3))) for z in (2 * x, 0.1 * x))
    assert float(good["variance"].detach()) < 0.01
    assert math.isclose(float(flat["variance"].detach()), 0.9, abs_tol=0.02)
    with pytest.raises(UserError, match="choose target=shared"):
        term(*(answers(x.detach()) for _ in range(3)))
    with pytest.raises(UserError, match=r"objective\.of 'answer' is not known .*'answers'"):
        SIGReg(of="answer")  # type: ignore[arg-type]
