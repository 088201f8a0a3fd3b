"""The mean of parameters over a training."""

import pytest
import torch

from nerf.training.weight_average import POWER, WeightAverage
from tests.backends.small_scene import ball_task


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


def test_a_task_takes_over_its_average_and_its_parameters_exactly():
    one, other = ball_task(), ball_task(changes={"train": {"seed": 1}})
    for step in range(3):
        one.train_step(step, 0.0)
    other.load_state({name: tensor.clone() for name, tensor in one.state().items()})
    for name, parameter in one.parameters.items():
        assert torch.equal(other.parameters[name], parameter)
        assert torch.equal(other.average.mean[name], one.average.mean[name])
    table = "encoding.table"
    assert not torch.equal(one.average.mean[table], one.parameters[table])
