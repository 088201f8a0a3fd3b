"""Which pictures of a capture are learned from, and which are scored."""

import pytest

from nerf.errors import InputError
from tests.scenes import photo_folder as made
from tests.scenes.test_captures import load, photos, write_sparse

__all__ = ["photos"]  # the fixture


def test_few_pictures_are_all_trained_on(photos):
    write_sparse(photos)
    assert set(load(photos, holdout=0).splits) == {"train"} and len(load(photos, holdout=0).splits["train"]) == 12


def test_a_capture_is_made_sparse_and_scored_on_all_others(photos):
    write_sparse(photos)
    scene = load(photos, pictures=4)
    learned = [int(name[-2:]) for name in scene.splits["train"].names]
    scored = [int(name[-2:]) for name in scene.splits["test"].names]
    assert learned == [1, 4, 7, 10] and sorted(learned + scored) == list(range(made.N))
    assert "learned from: 4 of 12 pictures" in "\n".join(scene.notes)
    with pytest.raises(InputError, match="scene.pictures=13: there are 12"):
        load(photos, pictures=13)
