"""The file that Meta releases of V-JEPA 2-AC, `vjepa2-ac-vitg.pt`: V-JEPA 2's encoder, and a predictor that acts.

What its weights depend on, beside what `clips.py` says of V-JEPA 2's:

- every frame is a clip by itself, of the frame and its copy, and its representations are layer-normed without affine
  parameters, with PyTorch's epsilon;
- the sequence of a frame is a token for the action that leaves it, one for its state, and its patches, row by row; every token
  sees its own frame and those before. For a third one, where the camera stands, the file has a layer that is not used;
- queries and keys of patches are turned as V-JEPA 2 does, rows and columns counted in units of the lattice of the training;
  the other tokens are turned by their time alone;
- actions and states are not normalised; predictions are layer-normed before they are used.

What is published does not say, as far as we know, the epsilon of the predictor's layer norms, for which V-JEPA 2's own is
taken, nor how frames that are not square are stretched, for which rows and columns are taken each by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interop import vit
from worldjepa.interop.clips import ROTARY, parts_of_clips, read_encoder
from worldjepa.interop.ijepa import check_parts
from worldjepa.interop.layout import Found, Layout, Node, Part, vjepa2_terms
from worldjepa.interop.sizes import VJEPA2, Ask, axes_of, check_names, depth_of
from worldjepa.interop.source import Source
from worldjepa.interop.vjepa2 import without_code
from worldjepa.nn.states import AddPose

NAME = "V-JEPA 2-AC"

HEADS = 16
"""Of the published predictor."""
LATTICE = 16
"""Rows and columns of the frames of its training: 256 pixels, patches of 16."""
HISTORY = 8
"""Frames of a window of its training, in the released configuration; the paper says 16."""
POSE = {"_target_": "worldjepa.nn.states.AddPose"}
"""What an action makes of the state, where the state is the pose of an arm."""
UNUSED = "extrinsics_encoder"


def matches(source: Source) -> bool:
    """Whether a file has parts that take clips, and a predictor that takes actions."""
    return "action_encoder.weight" in parts_of_clips(source).get("predictor", set())


def read(source: Source, ask: Ask) -> Found:
    """Read encoder and predictor. Of the encoder, which did not learn, there need be no average.

    Raises:
        UserError: a part is missing, or does not hold exactly its tensors.
    """
    which = ask.which if ask.which in source.keys else "encoder"
    check_parts(source, ask._replace(which=which))
    clips = read_encoder(without_code(source, which), ask, f"{source.path} ({which})", VJEPA2, stored=False)
    frames = {"_target_": "modalities.trajectory.encoders.PerFrame", "encoder": clips.node, "normalise": True}
    encoder = Part(frames, {f"encoder.{name}": value for name, value in clips.weights.items()})
    predictor = read_predictor(without_code(source, "predictor"), clips.node, f"{source.path} (predictor)")
    return Found(NAME, encoder, predictor, None, vjepa2_terms(source.path, certain=True))


def read_predictor(tensors: dict[str, Tensor], encoder: Node, where: str) -> Part:
    """The predictor, from tensors under their official names.

    Raises:
        UserError: tensors are missing, left over or of strange shapes.
    """
    depth = depth_of(tensors, "predictor_blocks.")
    names = [name for name in vit.predictor_names(depth) if name != "mask_token" and not name.endswith("pos_embed")]
    conditions = vit.layer_names(("action_encoder", "state_encoder"))
    unused = [name for name in tensors if name.startswith(f"{UNUSED}.")]
    check_names(tensors, [*names, *conditions, *(vit.layer_names((UNUSED,)) if unused else ())], where)
    if not depth:
        raise UserError(f"{where}: the predictor holds no transformer block")
    width, actions = axes_of(tensors["action_encoder.weight"], 2, "action_encoder.weight", where)
    _, states = axes_of(tensors["state_encoder.weight"], 2, "state_encoder.weight", where)
    if width % HEADS:
        raise UserError(f"{where}: the predictor's width {width} does not divide among {HEADS} heads")
    hidden = axes_of(tensors["predictor_blocks.0.mlp.fc1.weight"], 2, "predictor_blocks.0.mlp.fc1.weight", where)[0]
    state = {"_target_": "worldjepa.nn.states.StateSpec", "dim": states, "normalise": False}
    if states == actions == AddPose.WIDTH:
        state["follows"] = POSE
    node = {
        "_target_": "worldjepa.causal.CausalViT",
        "input_dim": encoder["dim"],
        "dim": width,
        "depth": depth,
        "heads": HEADS,
        "mlp_ratio": hidden / width,
        "history": HISTORY,
        "positions": ROTARY,
        "normalised": True,
        "lattice": LATTICE,
        "actions": {
            "_target_": "worldjepa.nn.actions.ActionSpec",
            "dim": actions,
            "normalise": False,
            "states": [state],
        },
    }
    ours = {name.replace("state_encoder.", "state_encoders.0."): tensors[name] for name in (*names, *conditions)}
    return Part(node, {**ours, **_as_they_are(actions, states)})


def _as_they_are(actions: int, states: int) -> dict[str, Tensor]:
    """What our model keeps of actions and states: that they are not normalised. Of bounds, ±1, the file says nothing."""
    one, other = torch.ones(actions), torch.ones(states)
    spec = {"low": -one, "high": one, "mean": 0 * one, "std": one, "states.0.mean": 0 * other, "states.0.std": other}
    return {f"actions.{name}": value for name, value in spec.items()}


LAYOUT = Layout(NAME, matches, read, VJEPA2)
