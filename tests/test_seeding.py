"""Random numbers depend on seed, stream and step, and on nothing else."""

import torch

from nerf.seeding import generator


def numbers(*key):
    return torch.rand(4, generator=generator(*key)).tolist()


def test_the_same_key_gives_the_same_numbers_and_any_other_key_others():
    assert numbers(1, "step", 5) == numbers(1, "step", 5)
    different = [
        numbers(1, "step", 5),
        numbers(2, "step", 5),
        numbers(1, "steq", 5),
        numbers(1, "step", 6),
        numbers(1, "step"),
    ]
    assert len({tuple(values) for values in different}) == len(different)
