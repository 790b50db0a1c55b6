"""V-JEPA 2-AC's file: its predictor against a literal restatement of the rules, its encoder against transformers' V-JEPA 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import worldjepa
from interop.acting import doing, plain_norm, predict, predictor, rollout, save_ac
from interop.clips import HEADS as ENCODER_HEADS
from interop.clips import PATCH, hf, hf_encode, official_names, wrapped
from interop.toys import randn
from modalities.trajectory.encoders import PerFrame
from worldjepa.causal import CausalViT
from worldjepa.cli import main
from worldjepa.dynamics import Dynamics
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.future import Future
from worldjepa.interop.start import start_from
from worldjepa.jepa import JEPA
from worldjepa.nn.actions import ActionSpec
from worldjepa.nn.states import AddPose, Hold, StateSpec
from worldjepa.objectives import L1
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA, Frozen
from worldjepa.types import Batch, Grid, Tokens
from worldjepa.world.model import WorldModel

CLOSE = {"atol": 1e-5, "rtol": 0.0}
WIDTH, INTO = 128, 80


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ac(tmp_path_factory.mktemp("ac") / "vjepa2-ac-vitg.pt", WIDTH)


def opened(file: Path) -> Any:
    return worldjepa.load(file, heads=ENCODER_HEADS)


def frames(t: int, rows: int, columns: int, batch: int = 2) -> Tensor:
    return plain_norm(randn(batch, t, rows * columns, INTO, seed=9))


def laid_out(z: Tensor, rows: int, columns: int, which: range) -> Tokens:
    pos = Grid(which.stop, rows, columns).pos().view(which.stop, -1, 3)[which.start :].flatten(0, 1)
    return Tokens(z[:, which.start : which.stop].flatten(1, 2)[:, None], pos.expand(len(z), 1, -1, -1))


def condition(actions: Tensor, states: Tensor) -> Tokens:
    return Tokens(torch.cat([actions, states], -1), Grid(actions.shape[1]).pos().expand(len(actions), -1, -1))


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (3, 2), (16, 1), (1, 20)])
@pytest.mark.parametrize("width", [WIDTH, 192])
def test_teacher_forcing(width: int, rows: int, columns: int, tmp_path: Path) -> None:
    """Heads of 8 and 12 features; frames of fewer and of more rows and columns than those of the training."""
    model, weights = opened(save_ac(tmp_path / "f.pt", width)), predictor(width, INTO)
    t = 4
    z, (actions, states) = frames(t, rows, columns), doing(2, t)
    with torch.no_grad():
        context, query = (
            laid_out(z, rows, columns, range(t)),
            laid_out(torch.cat([z, z[:, :1]], 1), rows, columns, range(1, t + 1)),
        )
        found = model.predictor(context, query.pos, condition(actions, states)).x.view(2, t, -1, INTO)
    wanted = predict(weights, z, actions, states, rows, columns)
    torch.testing.assert_close(found, wanted, **CLOSE)
    assert float(wanted.diff(dim=1).abs().max()) > 0.1  # frames differ, so agreement means something


@pytest.mark.parametrize("steps", [2, 5])
def test_rollouts_feed_layer_normed_predictions_back(steps: int, file: Path) -> None:
    model, weights = opened(file), predictor(WIDTH, INTO)
    z, (actions, states) = frames(steps + 1, 2, 3), doing(2, steps)
    with torch.no_grad():
        asked = laid_out(z, 2, 3, range(1, steps + 1)).pos
        found = model.predictor(laid_out(z, 2, 3, range(1)), asked, condition(actions, states)).x
    wanted = rollout(weights, z[:, 0], actions, states, 2, 3, steps)
    torch.testing.assert_close(found.view(wanted.shape), wanted, **CLOSE)


def test_frames_are_encoded_as_clips_of_their_copies(file: Path) -> None:
    model, theirs = opened(file), hf(crop_size=16, frames_per_clip=2)
    seen = randn(2, 3, 3, 16, 16, seed=4)
    found = model.encode(seen)
    for time in range(3):
        clip = seen[:, time, :, None].expand(-1, -1, 2, -1, -1)
        wanted = plain_norm(hf_encode(theirs, clip))
        torch.testing.assert_close(found.x.view(2, 3, -1, INTO)[:, time].detach(), wanted, **CLOSE)
    assert torch.equal(found.pos[0], Grid(3, 4, 4).pos())
    uint8 = torch.randint(256, (1, 2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(model.encode(uint8).x[:, :16], model.encode(uint8).x[:, 16:])


def test_the_loss_is_teacher_forcing_plus_a_rollout_of_two(file: Path) -> None:
    loaded, weights = opened(file), predictor(WIDTH, INTO)
    model = JEPA(loaded.encoder, loaded.predictor, Frozen(loaded.encoder), L1(weight=2.0))
    t, side = 5, 2 * PATCH
    seen = randn(2, t, 3, side, side, seed=4)
    z = loaded.encode(seen).x.view(2, t, -1, INTO).detach()
    actions, states = doing(2, t - 1)
    masks = Future(history=1, horizon=2, teacher=True)(Grid(t, 2, 2), 2, torch.Generator())
    terms = model(Batch(seen, masks, condition(actions, states)))
    forced = predict(weights, z[:, :-1], actions, states, 2, 2)
    alone = rollout(weights, z[:, 0], actions, states, 2, 2, 2)
    torch.testing.assert_close(alone[:, 0], forced[:, 0])  # the rollout begins with the first of the forced ones
    wanted = (forced - z[:, 1:]).abs().mean() + (alone - z[:, 1:3]).abs().mean()
    torch.testing.assert_close(terms["l1"].detach(), wanted, **CLOSE)
    terms["l1"].backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert all(parameter.grad is not None for parameter in model.predictor.parameters())


def test_planning_moves_the_pose_as_the_rules_say(file: Path) -> None:
    """Displacements are added, the rotation of the action comes after that of the state, the gripper stays in [0, 1]."""
    from scipy.spatial.transform import Rotation

    loaded, weights = opened(file), predictor(WIDTH, INTO)
    world = WorldModel(loaded.encoder, loaded.predictor)
    assert (world.history, world.actions.width, world.states) == (8, 7, 7)
    seen, (actions, states) = randn(2, 1, 3, 8, 8, seed=4), doing(2, 3)
    poses = [states[:, 0]]
    for step in range(2):
        moved = Rotation.from_euler("xyz", actions[:, step, 3:6]) * Rotation.from_euler("xyz", poses[-1][:, 3:6])
        angles = torch.as_tensor(moved.as_euler("xyz"), dtype=torch.float32)
        gripper = (poses[-1][:, 6:] + actions[:, step, 6:]).clamp(0, 1)
        poses.append(torch.cat([poses[-1][:, :3] + actions[:, step, :3], angles, gripper], -1))
    with torch.no_grad():
        history = world.encode(seen, states[:, :1])
        found = world.rollout(history, actions[:, None])
    wanted = rollout(weights, history.x[:, 0], actions, torch.stack(poses, 1), 2, 2, 3)
    torch.testing.assert_close(found.states[:, 0], wanted, **CLOSE)
    with pytest.raises(UserError, match="must be told 7 numbers of the state with every frame, not none"):
        world.rollout(world.encode(seen), actions[:, None])


# --- files --------------------------------------------------------------------------------------------------------------


def test_what_the_file_says(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = opened(file)
    assert "V-JEPA 2 under the MIT licence" in capsys.readouterr().err
    assert model.facts["layout"] == "V-JEPA 2-AC"
    assert isinstance(model.encoder, PerFrame)
    part = model.predictor
    assert isinstance(part, CausalViT)
    assert (part.dim, part.heads, part.history, part.lattice, part.layer_normed) == (WIDTH, 16, 8, 16, True)
    assert part.actions is not None
    assert part.actions.parts == [7, 7]
    assert isinstance(part.actions.states[0].follows, AddPose)
    again = worldjepa.load(worldjepa.save(model, tmp_path / "saved"))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    assert isinstance(again.predictor, Dynamics)


def test_an_average_is_taken_where_there_is_one(file: Path, tmp_path: Path) -> None:
    average = {"target_encoder": wrapped(official_names(hf(seed=8))["encoder"])}
    both = save_ac(tmp_path / "f.pt", WIDTH, **average)
    seen = randn(1, 1, 3, 8, 8, seed=0)
    trained = worldjepa.load(both, heads=ENCODER_HEADS, which="encoder")
    assert torch.equal(trained.encode(seen).x, opened(file).encode(seen).x)
    assert not torch.equal(opened(both).encode(seen).x, opened(file).encode(seen).x)


def test_a_file_without_the_layer_that_is_not_used(file: Path, tmp_path: Path) -> None:
    plain = save_ac(tmp_path / "f.pt", WIDTH, predictor=predictor(WIDTH, INTO, extrinsics=False))
    one, other = opened(plain).state_dict(), opened(file).state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_other_states_than_poses_stay_as_they_are(tmp_path: Path) -> None:
    tensors = predictor(WIDTH, INTO)
    tensors["state_encoder.weight"] = tensors["state_encoder.weight"][:, :3]
    spec = opened(save_ac(tmp_path / "f.pt", WIDTH, predictor=tensors)).predictor.actions
    assert spec.parts == [7, 3]
    assert isinstance(spec.states[0].follows, Hold)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"state_encoder.bias": None}, r"1 missing: state_encoder\.bias"),
        ({"extrinsics_encoder.bias": None}, r"1 missing: extrinsics_encoder\.bias"),
        ({"mask_tokens.0": torch.zeros(1, 1, WIDTH)}, r"1 left over: mask_tokens\.0"),
        ({"action_encoder.weight": torch.zeros(WIDTH)}, "expected 2 axes"),
        ({"action_encoder.weight": torch.zeros(120, 7)}, "width 120 does not divide among 16 heads"),
        ({"predictor_norm.weight": torch.zeros(3)}, r"of another shape: predictor_norm\.weight"),
    ],
)
def test_strange_predictors(change: dict[str, Tensor | None], told: str, tmp_path: Path) -> None:
    tensors = {**predictor(WIDTH, INTO), **change}
    kept = {name: value for name, value in tensors.items() if value is not None}
    with pytest.raises(UserError, match=told):
        opened(save_ac(tmp_path / "f.pt", WIDTH, predictor=kept))


def test_a_file_without_an_encoder(file: Path, tmp_path: Path) -> None:
    parts = torch.load(file, weights_only=True)
    torch.save({"predictor": wrapped(predictor(WIDTH, INTO))}, tmp_path / "f.pt")
    assert set(parts) >= {"encoder", "predictor"}
    with pytest.raises(UserError, match="has no 'encoder'"):
        opened(tmp_path / "f.pt")


def test_other_programs_have_no_place_for_it(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"checkpoint={file}", f"heads={ENCODER_HEADS}", "format=hf", f"out={tmp_path / 'hf'}", "size=16"]
    assert main(["export", *words]) == 2
    assert "PerFrame" in capsys.readouterr().err


# --- a new run begins with it -----------------------------------------------------------------------------------------


def fresh(file: Path, **changed: Any) -> JEPA:
    """A model of the file's sizes with weights of its own; actions are normalised by 2."""
    node = {**opened(file).facts["predictor"], **changed}
    inner = opened(file).encoder.loaded()
    torch.manual_seed(9)
    encoder = ViT(inner.tokenizer, inner.dim, 2, ENCODER_HEADS, mlp_ratio=1.35, positions=inner.positions)
    spec = ActionSpec(7, states=[StateSpec(7)])
    spec.std.fill_(2.0)
    sizes = {key: node[key] for key in ("input_dim", "dim", "depth", "heads", "history", "normalised", "lattice")}
    causal = CausalViT(**sizes, positions=inner.positions, actions=spec)
    frames = PerFrame(encoder, normalise=True)
    return JEPA(frames, causal, Frozen(frames), L1())


def test_training_goes_on_from_it(file: Path) -> None:
    model, wanted = fresh(file), opened(file)
    (told,) = start_from(str(file), model)
    assert told.startswith(f"weights from {file} (V-JEPA 2-AC)")
    assert all(torch.equal(v, model.encoder.state_dict()[name]) for name, v in wanted.encoder.state_dict().items())
    for name, value in wanted.predictor.state_dict().items():
        assert name.startswith("actions.") or torch.equal(value, model.predictor.state_dict()[name])
    assert model.predictor.actions.std.tolist() == [2.0] * 7  # type: ignore[union-attr]


def test_training_begins_with_the_encoder_of_vjepa2(tmp_path: Path, file: Path) -> None:
    parts = official_names(hf(seed=3))
    whole = {name: wrapped(parts["encoder"]) for name in ("encoder", "target_encoder")}
    torch.save({**whole, "predictor": wrapped(parts["predictor"])}, tmp_path / "vitl.pt")
    model = fresh(file)
    before = model.predictor.predictor_proj.weight.clone()  # type: ignore[union-attr, operator]
    (told,) = start_from(str(tmp_path / "vitl.pt"), model)
    assert "its predictor is a MaskTokenViT, that of this model begins anew" in told
    theirs = worldjepa.load(tmp_path / "vitl.pt", heads=ENCODER_HEADS).encoder.state_dict()
    assert all(torch.equal(value, model.encoder.loaded().state_dict()[name]) for name, value in theirs.items())
    assert torch.equal(before, model.predictor.predictor_proj.weight)  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize(("key", "value"), [("lattice", None), ("normalised", False), ("heads", 8)])
def test_a_model_that_reads_otherwise_is_refused(key: str, value: Any, file: Path) -> None:
    with pytest.raises(UserError, match=f"it was trained with predictor.{key}="):
        start_from(str(file), fresh(file, **{key: value}))


def test_a_clip_model_takes_the_encoder_only(file: Path) -> None:
    inner, other = opened(file).encoder.loaded(), opened(file).encoder.loaded()
    encoder = ViT(other.tokenizer, INTO, 2, ENCODER_HEADS, mlp_ratio=1.35, positions=inner.positions)
    model = JEPA(encoder, MaskTokenViT(INTO, 24, 1, 2), EMA(encoder, 10), L1())
    wanted = {name: value.clone() for name, value in inner.state_dict().items()}
    (told,) = start_from(str(file), model)
    assert "its predictor is a CausalViT" in told
    assert all(torch.equal(value, model.encoder.state_dict()[name]) for name, value in wanted.items())
    assert all(torch.equal(value, model.target.encoder.state_dict()[name]) for name, value in wanted.items())  # type: ignore[union-attr, operator]
