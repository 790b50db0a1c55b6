"""Fine-tuning: the rates of each stage by hand, drop path, and an encoder that learns what it could not tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from evaluate.test_judge import Greys, Rows
from modalities.image.tokenizer import Patches
from worldjepa.data import Labels, ProbeSplits
from worldjepa.encoders import TimmViT, ViT
from worldjepa.errors import Unreadable, UserError
from worldjepa.evaluate.finetune import Dropped, Recipe, Tuned, drop_paths, finetune, groups
from worldjepa.types import Tokens

CPU = torch.device("cpu")


def vit(depth: int = 2) -> ViT:
    torch.manual_seed(0)
    return ViT(Patches(4, 16, channels=1), dim=16, depth=depth, heads=2, init="xavier")


@pytest.mark.parametrize("make", [vit, lambda: TimmViT("vit_tiny_patch16_224", image_size=16, channels=1)])
def test_each_stage_has_its_rate(make: Any) -> None:
    model = Tuned(make(), 3)
    found = groups(model, 1e-3, Recipe(layer_decay=0.5, weight_decay=0.1))
    rate, decay = {}, {}
    for group in found:
        for parameter in group["params"]:
            assert id(parameter) not in rate
            rate[id(parameter)], decay[id(parameter)] = group["peak"], group["weight_decay"]
    depth = len(model.encoder.stages()) - 2
    for name, parameter in model.named_parameters():
        if ".blocks." in name:
            place = int(name.split(".blocks.")[1].split(".")[0]) + 1
        else:
            place = depth + 1 if name.startswith("head.") or ".norm." in name else 0
        assert rate[id(parameter)] == pytest.approx(1e-3 * 0.5 ** (depth + 1 - place)), name
        assert decay[id(parameter)] == (0.1 if parameter.ndim > 1 else 0), name


class Moving(Greys):
    """Training views are shifted by a random amount; some cannot be read."""

    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        if index == 5:
            raise Unreadable("torn")
        if rng is None:
            return self.images[index]
        return self.images[index].roll(int(torch.randint(3, (), generator=rng)), 1)


def splits(train: int = 128) -> ProbeSplits:
    found = [Moving(count, seed) for seed, count in ((1, train), (2, 80), (3, 100))]
    for one in found:  # only what is asked
        one.factors = {"level": one.factors["level"]}
    return ProbeSplits(*found)


FAST = Recipe((1e-2, 1e-9), epochs=10, batch=32, warmup=1, layer_decay=0.9)


def test_it_learns_and_chooses_on_validation_data() -> None:
    encoder, data = vit(), splits()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = finetune(encoder, data, "level", FAST, CPU)
    assert found.chosen == {"lr": 1e-2}
    assert found.scores["top1"] > 80
    assert len(found.predicted) == 99  # one cannot be read
    assert torch.equal(found.correct, found.predicted == torch.from_numpy(_read(data.test)))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    # Where the validation labels are what the idle one says, it is chosen in spite of the test.
    idle = finetune(encoder, data._replace(test=data.val), "level", FAST._replace(lrs=(1e-9,), epochs=1), CPU)
    misled = Moving(80, 2)
    index = misled.factors["level"].index.copy()
    index[[i for i in range(80) if i != 5]] = idle.predicted.numpy()
    misled.factors = {"level": Labels(index, list("abcd"))}
    again = finetune(encoder, data._replace(val=misled), "level", FAST._replace(epochs=3), CPU)
    assert again.chosen == {"lr": 1e-9}


def _read(data: Any) -> Any:
    return data.factors["level"].index[[i for i in range(len(data)) if i != 5]]


def test_equal_seeds_give_equal_results_and_global_generators_stay() -> None:
    data, short = splits(64), FAST._replace(lrs=(1e-2,), epochs=3, drop_path=0.3)
    found = []
    for before in (3, 4):
        torch.manual_seed(before)
        encoder = vit()
        state = torch.get_rng_state()
        found.append(finetune(encoder, data, "level", short, CPU, seed=4).predicted)
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(*found)


def test_drop_path_leaves_out_branches_of_late_blocks() -> None:
    encoder = vit(3)
    obs = torch.rand(64, 1, 8, 8)
    plain = encoder(obs).x
    drop_paths(encoder, 1.0 - 1e-9)
    shares = [part.share for part in encoder.modules() if isinstance(part, Dropped)]
    assert shares == pytest.approx([0, 0, 0.5, 0.5, 1, 1])
    torch.testing.assert_close(encoder.eval()(obs).x, plain)
    layers = encoder.train().layers(obs)
    torch.testing.assert_close(layers[2].x, layers[1].x)  # the last block is never there: its output is its input
    assert not torch.allclose(layers[1].x, layers[0].x)
    assert len(encoder.stages()) == 5


def test_encoders_without_stages_or_blocks_are_refused() -> None:
    class Learning(Rows):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(8, 8)

        def forward(self, obs: Tensor | Tokens, keep: Tensor | None = None) -> Tokens:
            tokens = super().forward(obs, keep)
            return Tokens(self.net(tokens.x), tokens.pos)

    with pytest.raises(UserError, match=r"Learning does not tell its stages, so layer_decay=0\.9 means nothing"):
        finetune(Learning(), splits(), "level", FAST, CPU)
    alike = FAST._replace(layer_decay=1.0, lrs=(0.1,), epochs=8)
    assert finetune(Learning(), splits(), "level", alike, CPU).scores["top1"] > 50
    with pytest.raises(UserError, match="Learning has no transformer blocks"):
        finetune(Learning(), splits(), "level", alike._replace(drop_path=0.1), CPU)
