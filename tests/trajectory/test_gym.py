"""The world of rooms behind gymnasium's API."""

from __future__ import annotations

import warnings

import numpy as np
from gymnasium.utils.env_checker import check_env

from modalities.trajectory.gym import RoomsGym


def test_gymnasium_accepts_it() -> None:
    for settings in ({"view": "state"}, {"layout": "smaze", "size": 16, "dots": 1}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on spaces, not faults
            check_env(RoomsGym(**settings), skip_render_check=True)


def test_an_episode_ends_at_the_goal_and_is_a_function_of_the_seed() -> None:
    env = RoomsGym(kind="near", layout="smaze", view="state")
    obs, info = env.reset(seed=5)
    again, other = env.reset(seed=5)
    assert np.array_equal(obs, again)
    assert np.array_equal(info["goal"], other["goal"])
    for _ in range(20):
        obs, reward, ended, cut, info = env.step(env.env.expert(env.goal)[0].astype(np.float32))
        if ended:
            break
        assert reward == -1
    assert ended
    assert reward == 0
    assert not cut
    assert env.render().shape == (64, 64, 3)
