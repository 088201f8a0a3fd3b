"""The occupancy grid: what empties a cell and what keeps it."""

import torch

from nerf.rendering.occupancy import DECAY, OccupancyGrid
from nerf.seeding import generator


def grid(size=8):
    hull = torch.ones(size, size, size, dtype=torch.bool)
    hull[0] = False
    return OccupancyGrid(hull)


def test_cells_are_found_by_position():
    position = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.26, 0.13, 0.99]])
    assert grid().cell_rows(position).tolist() == [0, 511, 2 * 64 + 1 * 8 + 7]


def test_a_cell_holds_the_maximum_seen_and_forgets_it_slowly():
    occupancy = grid()
    position = torch.tensor([[0.3, 0.3, 0.3], [0.3, 0.3, 0.3]])
    occupancy.observe(position, torch.tensor([5.0, 2.0]))
    assert occupancy.value.max() == 5 and occupancy.value.count_nonzero() == 1
    occupancy.update(lambda position: torch.zeros(len(position)), 0.01, False, generator(0, "test"))
    assert torch.isclose(occupancy.value.max(), torch.tensor(5 * DECAY))
    assert torch.equal(occupancy.occupied, occupancy.hull)  # nothing is pruned yet


def test_pruning_keeps_what_is_dense_and_nothing_outside_the_hull():
    occupancy = grid()

    def half_full(position):
        return torch.where(position[:, 2] > 0.5, 100.0, 0.0)

    for step in range(400):
        occupancy.update(half_full, 0.01, True, generator(step, "test"))
    assert not occupancy.occupied[0].any() and not occupancy.occupied[:, :, :4].any()
    # Of what no training sample sees, some cells are not probed for so long that they fall below the threshold.
    assert occupancy.occupied[1:, :, 4:].float().mean() > 0.9

    occupancy.observe(torch.rand(8192, 3, generator=generator(0, "seen")) / 2 + 0.5, torch.full((8192,), 100.0))
    occupancy.update(half_full, 0.01, True, generator(0, "test"))
    assert occupancy.occupied[4:, 4:, 4:].all()


def test_a_cell_that_was_pruned_by_mistake_comes_back():
    occupancy = grid()
    occupancy.occupied.zero_()
    came_back = torch.zeros_like(occupancy.hull)
    for step in range(400):
        occupancy.update(lambda position: torch.full((len(position),), 50.0), 0.01, True, generator(step, "test"))
        came_back |= occupancy.occupied
    assert torch.equal(came_back, occupancy.hull)
