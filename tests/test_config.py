"""Settings: what is read, what is refused and with which words."""

import dataclasses
from pathlib import Path

import pytest

from nerf.config import Settings, read_settings, settings_from_dict
from nerf.errors import InputError


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    return file


def test_words_of_the_command_line_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = written(tmp_path, "field: {levels: 6, density_width: 48}\n")
    settings = read_settings(file, ["field.levels=7"])
    assert (settings.field.levels, settings.field.density_width) == (7, 48)
    assert settings.optimizer == Settings().optimizer


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    assert read_settings(written(tmp_path, "optimizer: {learning_rate: 1e-3}")).optimizer.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["feild.levels=8"], 'no section "feild"; did you mean "field"'),
        (["field.level=8"], 'no setting "field.level"; did you mean "levels"'),
        (["field.levels=many"], "expected a whole number, got 'many'"),
        (["field.levels=8.5"], "expected a whole number"),
        (["field.levels=0"], "0 is outside"),
        (["optimizer.learning_rate=nan"], "outside"),
        (["scene.background=whit"], 'did you mean "white"'),
        (["field.features_per_level=3"], "not 1, 2, 4 or 8"),
        (["field.finest_resolution=8"], "below field.base_resolution"),
        (["train.steps=0"], "never end"),
        (["render.steps=8"], "neither 0 nor at least 16"),
        (["levels"], "expected section.name=value"),
    ],
)
def test_what_is_not_known_is_refused_with_the_nearest_word(words, message):
    with pytest.raises(InputError, match=message):
        read_settings(None, words)


@pytest.mark.parametrize(
    "text", ["- 1", "field: 3", "field: {levels: true}", "field: [", "field: {levels: [1]}", "output: {video: 5}"]
)
def test_a_file_of_another_shape_is_refused_by_name(tmp_path, text):
    with pytest.raises(InputError, match="settings.yaml"):
        read_settings(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.yaml.*cannot be read"):
        read_settings(tmp_path / "nowhere.yaml")


def test_what_is_written_is_read_back_exactly():
    settings = read_settings(None, ["optimizer.learning_rate=0.0123", "train.pace=0 0.0 0.01"])
    assert settings_from_dict(settings.to_dict(), "copy") == settings


def test_every_file_in_configs_loads():
    files = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
    assert files
    for file in files:
        assert read_settings(file) != Settings()


def test_sections_stay_small_and_every_setting_has_a_meaning():
    for section in dataclasses.fields(Settings):
        fields = dataclasses.fields(section.default)
        assert len(fields) <= 12
        assert all(field.metadata["meaning"] for field in fields)
