"""Which pixels are drawn."""

from __future__ import annotations

import pytest
import torch

from nerf.training.pixel_sampler import PixelSampler
from tests.backends.small_scene import ball_photographs, native_task, reference_task


def test_pictures_without_alpha_and_masks_need_no_list_and_draw_as_with_one():
    sampler = PixelSampler(ball_photographs())
    listed = PixelSampler(ball_photographs())
    listed.candidates = torch.arange(listed.count)
    assert sampler.candidates is None and sampler.bytes == 0 and sampler.count == len(listed.candidates)
    drawn = [each.draw(500, torch.Generator().manual_seed(1)) for each in (sampler, listed)]
    assert torch.equal(drawn[0].pixel, drawn[1].pixel) and torch.equal(drawn[0].color, drawn[1].color)


@pytest.mark.parametrize("make", [reference_task, native_task])
def test_a_training_has_the_same_bits_with_the_list_and_without(make):
    from tests.backends.small_scene import ball_task

    settings = ball_task(changes={"scene": {"bounds": 0}}, views=ball_photographs()).settings
    states = []
    for listed in (False, True):
        task = make(ball_photographs(), settings)
        if listed:
            task.pixels.candidates = torch.arange(task.pixels.count)
            task.model.forget_engine()
        for step in range(3):
            task.train_step(step, step / 3)
        states.append(task.state())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
