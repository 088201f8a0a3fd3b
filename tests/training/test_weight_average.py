"""The mean of parameters over a training."""

import pytest
import torch

from nerf.training.weight_average import POWER, WeightAverage


def test_the_mean_is_what_shares_by_hand_give():
    parameter = torch.zeros(3)
    average = WeightAverage({"table": parameter})
    taken = []
    for step in range(1, 101):
        parameter.copy_(torch.tensor([step, -step, step**2]))
        if average.due(step):
            average.take(step)
            taken.append(step)
    assert taken == [1, 2, 4, 8, 16, 32, 64, 96]
    # What is taken at a step stands for all steps since the last one: the integral of step^POWER.
    ends = torch.tensor([0.0, *taken], dtype=torch.float64) ** (POWER + 1)
    shares = ends.diff() / ends[-1]
    steps = torch.tensor(taken, dtype=torch.float64)
    expected = [(shares * values).sum().item() for values in (steps, -steps, steps**2)]
    assert average.mean["table"].tolist() == pytest.approx(expected, rel=1e-5)


def test_the_mean_of_a_noisy_way_is_nearer_its_middle_than_its_end():
    random = torch.Generator().manual_seed(0)
    parameter = torch.zeros(1000)
    average = WeightAverage({"table": parameter})
    for step in range(1, 2001):
        parameter.normal_(generator=random)
        if average.due(step):
            average.take(step)
    assert average.mean["table"].std() < 0.4 < 0.9 < parameter.std()


def test_its_state_is_taken_over_exactly():
    one, other = (WeightAverage({"table": torch.full((2,), value)}) for value in (1.0, 2.0))
    one.parameters["table"].fill_(5.0)
    one.take(1)
    one.parameters["table"].fill_(6.0)
    other.load_state({name: tensor.clone() for name, tensor in one.state().items()})
    assert other.mean["table"].tolist() == [5.0, 5.0]
    assert other.parameters["table"].tolist() == [6.0, 6.0]
