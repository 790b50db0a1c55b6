"""Ensembles, free energy and surprise, against what they must be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from modalities.trajectory import embedded
from modalities.trajectory.encoders import StateFrames
from world.exact import Adding, Positions, empty, exact
from world.test_verbs import TOY
from worldjepa.cli import main
from worldjepa.ensemble import EnsembleMLP
from worldjepa.errors import UserError
from worldjepa.future import Future
from worldjepa.jepa import JEPA
from worldjepa.nn.actions import ActionSpec
from worldjepa.objectives import MSE
from worldjepa.targets import Shared
from worldjepa.types import Batch, Grid, Tokens
from worldjepa.world.behaviour import Wander
from worldjepa.world.model import WorldModel
from worldjepa.world.record import seeds_of
from worldjepa.world.surprise import auroc, surprise

T, A, D, K = 6, 2, 4, 3


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts() -> tuple[JEPA, EnsembleMLP, Batch]:
    torch.manual_seed(0)
    encoder = StateFrames(D, 2, 8)
    ensemble = EnsembleMLP(D, K, 8, 1, actions=ActionSpec(A))
    obs = torch.randn(5, T, 2, generator=rng())
    cond = Tokens(torch.randn(5, T - 1, A, generator=rng(1)), Grid(T - 1).pos().expand(5, -1, -1))
    batch = Batch(obs, Future(1, 3, rollouts=2, teacher=True)(Grid(T), 5, rng()), cond)
    return JEPA(encoder, ensemble, Shared(encoder), MSE()), ensemble, batch


def test_every_member_learns_from_every_sample_by_a_loss_of_its_own() -> None:
    model, ensemble, batch = parts()
    own = [JEPA(model.encoder, member, model.target, MSE())(batch)["mse"] for member in ensemble.members()]
    whole = model(batch)["mse"]
    assert torch.allclose(whole, torch.stack(own).mean(), atol=1e-6)
    assert len({round(float(loss.detach()), 5) for loss in own}) == K
    for loss, member in zip(own, ensemble.members(), strict=True):
        weights = list(member.parameters())
        alone = torch.autograd.grad(loss, weights, retain_graph=True)
        together = torch.autograd.grad(whole, weights, retain_graph=True)
        for one, other in zip(alone, together, strict=True):
            assert torch.allclose(one / K, other, atol=1e-6)
    # The mean of the answers is better than the answers, so that its loss would be another.
    mean = MSE()(ensemble(*_question(model, batch)), model.target(batch.obs, batch.masks)[0], batch.cond, None)["mse"]
    every = [
        MSE()(member(*_question(model, batch)), model.target(batch.obs, batch.masks)[0], batch.cond, None)["mse"]
        for member in ensemble.members()
    ]
    assert float(mean.detach()) < float(torch.stack(every).mean().detach()) - 1e-4


def _question(model: JEPA, batch: Batch) -> tuple[Tokens, torch.Tensor, Tokens | None]:
    context = model.encoder(batch.obs, keep=batch.masks[0].context)
    return context, model.target(batch.obs, batch.masks)[0].pos, batch.cond


def test_a_world_model_takes_an_ensemble_apart() -> None:
    model, ensemble, _ = parts()
    world, by_hand = WorldModel(model.encoder, ensemble), WorldModel(model.encoder, ensemble.members())
    assert len(world.members) == K
    history, actions = world.encode(torch.randn(2, 1, 2, generator=rng())), torch.randn(2, 3, 4, A, generator=rng(1))
    imagined, other = world.rollout(history, actions), by_hand.rollout(history, actions)
    assert torch.equal(imagined.states, other.states)
    assert imagined.spread is not None
    assert float(imagined.spread.detach().min()) > 0
    assert imagined.evaluations == K * 3 * 4
    with pytest.raises(UserError, match="at least 2, not 1"):
        EnsembleMLP(D, 1)


@pytest.mark.parametrize("beta", [0.3, 50.0, 1e5, math.inf])
def test_free_energy_is_that_of_its_definition(beta: float) -> None:
    members = [Adding(0.05, history=2), Adding(0.02), Adding(-0.05)]
    model = WorldModel(Positions(), members)
    x, y = torch.rand(4, 2, 2, generator=rng()), torch.rand(4, 3, 2, generator=rng(1))
    actions = 2 * torch.rand(4, 4, 2, generator=rng(2)) - 1
    each = torch.stack([WorldModel(Positions(), member).energy(x, y, actions) for member in members])  # [K, B]
    found = model.free_energy(x, y, actions, beta)
    if math.isinf(beta):
        assert torch.allclose(found, each.min(0).values, atol=1e-6)
    else:
        for task in range(4):
            mean = sum(math.exp(-beta * float(energy)) for energy in each[:, task]) / 3
            if mean > 0:
                assert float(found[task]) == pytest.approx(-math.log(mean) / beta, abs=1e-5)
        assert bool((found >= each.amin(0) - 1e-6).all())
        assert bool((found <= each.amin(0) + math.log(3) / beta + 1e-6).all())
        assert bool((found <= each.mean(0) + 1e-6).all())
    with pytest.raises(UserError, match="beta must be positive"):
        model.free_energy(x, y, actions, 0.0)


def test_the_free_energy_of_one_predictor_is_its_energy() -> None:
    x, y = torch.rand(4, 1, 2, generator=rng()), torch.rand(4, 3, 2, generator=rng(1))
    actions = 2 * torch.rand(4, 3, 2, generator=rng(2)) - 1
    expected = exact().energy(x, y, actions)
    for beta in (2.0, math.inf):
        assert torch.allclose(exact().free_energy(x, y, actions, beta), expected, atol=1e-6)


# --- surprise --------------------------------------------------------------------------------------------------------


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    genuine, false = (
        torch.randint(6, (40,), generator=rng()).float(),
        1 + torch.randint(7, (25,), generator=rng(1)).float(),
    )
    pairs = [(b > a) + 0.5 * (b == a) for a in genuine for b in false]
    assert auroc(genuine, false) == pytest.approx(float(sum(pairs)) / len(pairs))
    labels = np.repeat([0, 1], [40, 25])
    assert auroc(genuine, false) == pytest.approx(float(roc_auc_score(labels, torch.cat([genuine, false]).numpy())))
    assert auroc(genuine, genuine) == 0.5
    assert auroc(genuine, genuine + 9) == 1.0


@pytest.mark.parametrize("settings", [{}, {"history": 3}, {"repeat": 2}], ids=["plain", "history", "skip"])
def test_who_understands_a_world_is_surprised_by_what_cannot_happen(settings: dict[str, int]) -> None:
    seeds = seeds_of(5, range(120))
    found = surprise(exact(**settings), empty(), Wander(), seeds)
    assert found.exchanged > 0.97
    assert found.teleported > 0.97
    # Who expects the opposite of what actions do takes more for possible, and who expects nothing cannot tell at all.
    wrong = surprise(exact(stride=-0.1, **settings), empty(), Wander(), seeds)
    assert max(wrong) < min(found) - 0.02

    class Blind(Positions):
        def forward(self, obs: torch.Tensor, keep: torch.Tensor | None = None) -> Tokens:
            return super().forward(torch.zeros_like(obs), keep)

    blind = surprise(WorldModel(Blind(), Adding(**settings)), empty(), Wander(), seeds)
    assert blind == (0.5, 0.5)
    with pytest.raises(UserError, match="2 episodes or more"):
        surprise(exact(), empty(), Wander(), seeds[:1])


# --- from the command line -------------------------------------------------------------------------------------------


def test_an_ensemble_is_trained_and_its_uncertainty_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from worldjepa.cli import agents, planning

    monkeypatch.setattr(embedded, "PROBE_SIZES", {"train": 24, "val": 12, "test": 12})
    for module, name, value in (
        *((planning, "PROBED", 50), (planning, "ASTRAY", 5)),
        *((agents, "WATCHED", 6), (agents, "FITTED", 40)),
    ):
        monkeypatch.setattr(module, name, value)
    words = [
        *TOY,
        "predictor=ensemble_mlp",
        "predictor.count=3",
        "run.log_every=1",
        "probe.enabled=false",
        "run.steps=6",
    ]
    losses = []
    for name in ("one", "two"):
        assert main(["train", *words, f"run.out={tmp_path / name}"]) == 0
        rows = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        losses.append([row["train/loss"] for row in rows if "train/loss" in row])
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6
    model, _, _, _ = planning.opened(tmp_path / "one", [], [], [])
    assert len(model.members) == 3
    weights = [torch.cat([weight.flatten() for weight in member.parameters()]) for member in model.members]
    assert float((weights[0] - weights[1]).abs().max()) > 0.01
    assert all(bool((member.actions.std != 1).all()) for member in model.members if member.actions is not None)
    command = ["plan", "count=2", "budget=4", "horizon=4", "execute=2", "samples=8", "iterations=2"]
    paths = []
    for weight in ("0", "0.5"):
        out = tmp_path / f"plan{weight}"
        assert main([*command, f"checkpoint={tmp_path / 'one'}", f"uncertainty={weight}", f"out={out}"]) == 0
        found = json.loads((out / "plan.json").read_text())
        assert set(found["surprise_auroc"]) == {"exchanged", "teleported"}
        assert all(0 <= value <= 1 for value in found["surprise_auroc"].values())
        assert found["settings"]["uncertainty"] == float(weight)
        paths.append((out / "episodes.png").read_bytes())
    assert "surprise AUROC: " in capfd.readouterr().out
    assert paths[0] != paths[1]
    single = [word for word in words if not word.startswith("predictor")]
    assert main(["train", *single, f"run.out={tmp_path / 'single'}"]) == 0
    for words, message in (
        (
            ["uncertainty=0.5"],
            "uncertainty=0.5 needs a model with several predictors: train with predictor=ensemble_mlp",
        ),
        (["uncertainty=-1"], "uncertainty=-1: must be 0 or more"),
        (["uncertainty=much"], "uncertainty=much: must be a number"),
    ):
        assert main([*command, f"checkpoint={tmp_path / 'single'}", *words]) == 2
        assert message in capfd.readouterr().err
