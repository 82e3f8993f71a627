import json

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces.utils import flatten

from worldsim.space_json import space_from_json, space_to_json
from worldsim.spaces import action_bounds, action_dim, flatten_action, null_action, unflatten_action

BOX = spaces.Box(np.array([-1, 0, 0], np.float32), 1.0, (3,))
SPACES = [
    BOX,
    spaces.Box(-np.inf, np.inf, (2, 2)),
    spaces.Box(0, 255, (2,), np.uint8),
    spaces.Discrete(4),
    spaces.Discrete(3, start=-1, dtype=np.int32),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiDiscrete([[2, 3], [4, 5]]),
    spaces.MultiBinary(5),
    spaces.MultiBinary([2, 3]),
    spaces.Dict({"turn": spaces.Discrete(3), "force": spaces.Box(-1, 1, (2,))}),
    spaces.Dict([("z", spaces.Discrete(2)), ("a", spaces.Tuple([BOX, spaces.MultiBinary(2)]))]),
    spaces.Tuple([spaces.Discrete(2), BOX]),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_space_survives_json(space):
    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actions_flatten_as_gymnasium_does_and_come_back(space):
    space.seed(0)
    for _ in range(20):
        action = space.sample()
        vector = flatten_action(space, action)
        assert vector.dtype == np.float32 and vector.shape == (action_dim(space),)
        np.testing.assert_allclose(vector, flatten(space, action), rtol=1e-6)
        again = unflatten_action(space, vector)
        assert space.contains(again)
        np.testing.assert_array_equal(flatten_action(space, again), vector)
        low, high = action_bounds(space)
        assert (low <= vector).all() and (vector <= high).all()


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_any_vector_becomes_a_valid_action_and_the_null_action_is_one(space):
    wild = np.random.default_rng(0).normal(0, 3, action_dim(space))
    assert space.contains(unflatten_action(space, wild))
    assert space.contains(null_action(space))


@pytest.mark.parametrize(
    "space, action, error, says",
    [
        (BOX, [0.0, 0.0], ValueError, r"shape \(3,\)"),
        (BOX, [0.0, np.nan, 0.0], ValueError, "finite"),
        (BOX, [2.0, 0.0, 0.0], ValueError, "within"),
        (BOX, "left", TypeError, "numbers"),
        (BOX, None, TypeError, "numbers"),
        (BOX, [0.0, [0.0, 1.0]], TypeError, "numbers"),
        (spaces.Discrete(3), 3, ValueError, "within"),
        (spaces.Discrete(3), 0.5, TypeError, "whole"),
        (spaces.MultiBinary(2), [0, 2], ValueError, "within"),
        (spaces.Dict({"a": BOX}), {"b": [0, 0, 0]}, TypeError, r"keys \['a'\]"),
        (spaces.Dict({"a": BOX}), {"a": [0, 0]}, ValueError, r"action\['a'\]"),
        (spaces.Tuple([BOX]), 3, TypeError, "tuple of 1"),
        (spaces.Text(4), "abc", TypeError, "built of"),
    ],
)
def test_a_wrong_action_is_refused_with_the_rule_and_the_value(space, action, error, says):
    with pytest.raises(error, match=says):
        flatten_action(space, action)


def test_a_box_holds_its_own_ends():
    """In single precision the lower one was 2e-5 out of bounds."""
    space = spaces.Box(-1000.1, 0, (1,), np.float32)
    for end in (-1000.1, 0.0):
        assert flatten_action(space, [end])[0] == np.float32(end)


def test_a_number_rounded_in_double_precision_is_still_within_bounds():
    assert flatten_action(spaces.Box(-0.1, 0.1, (1,)), [0.1])[0] == pytest.approx(0.1)


def test_a_vector_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        unflatten_action(BOX, np.zeros(2))
