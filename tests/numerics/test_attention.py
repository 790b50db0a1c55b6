"""The ways to compute attention agree, and each is taken where it should be."""

from __future__ import annotations

import pytest
import torch

from worldjepa.nn.attention import LONG, SHORT, attend, writes_out, written_out


def parts(keys: int, asked: int, dtype: torch.dtype) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    shapes = [(2, 3, asked, 8), (2, 3, keys, 8), (2, 3, keys, 8)]
    return [torch.randn(shape, generator=rng).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("keys", "asked"), [(7, 7), (64, 64), (64, 5)])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_backends_agree_in_values_and_gradients(keys: int, asked: int, dtype: torch.dtype, near: float) -> None:
    found = []
    for way in (written_out, torch.nn.functional.scaled_dot_product_attention, attend):
        q, k, v = parts(keys, asked, dtype)
        out = way(q, k, v)
        assert out.shape == (2, 3, asked, 8)
        assert out.dtype is dtype
        out.square().sum().backward()
        found.append([out.detach(), q.grad, k.grad, v.grad])
    for others in found[1:]:
        for mine, theirs in zip(found[0], others, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=near, atol=10 * near)


def test_the_rule() -> None:
    for keys, dtype, expected in (
        (SHORT, torch.float32, True),
        (SHORT + 1, torch.float32, False),
        (LONG - 1, torch.bfloat16, True),
        (LONG, torch.bfloat16, False),
    ):
        q, k, _ = parts(keys, 3, dtype)
        assert writes_out(q, k) is expected
    q = torch.empty(1, 1, 4, 8, device="meta", dtype=torch.bfloat16)
    assert not writes_out(q, q), "only processors write it out"
