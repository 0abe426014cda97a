"""Weights to start from: what fits is taken, what does not is named."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from small import build, image

from finevox.errors import CheckpointError
from finevox.networks import Network, create, save, shipped
from finevox.workflows.training.initialise import initialise

RECORD = {
    "convention": "fov",
    "degradation": "bicubic",
    "data": "none",
    "subjects": [],
    "licence": "CC0-1.0",
}


def saved(network: Network, folder: Path) -> str:
    path = folder / "start.safetensors"
    save(network, path, RECORD)
    return str(path)


def test_weights_of_the_same_network_are_all_taken(tmp_path: Path) -> None:
    source, network = build("fmen", seed=1), build("fmen", seed=2)
    assert initialise(network, saved(source, tmp_path)) == ()
    x = image(network, 9, 8)
    assert torch.equal(network(x), source(x))


def test_of_another_scale_the_last_layers_start_afresh(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, network = build("espcn", scale=2, seed=1), build("espcn", scale=3, seed=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with caplog.at_level(logging.INFO):
        fresh = initialise(network, saved(source, tmp_path))
    assert fresh == ("last_part.0.weight", "last_part.0.bias")
    assert "4 of 6 tensors" in caplog.text
    assert "last_part.0.weight" in caplog.text
    for key, value in network.state_dict().items():
        wanted = before if key in fresh else source.state_dict()
        assert torch.equal(value, wanted[key]), key


def test_the_inference_form_starts_from_weights_of_the_training_form(tmp_path: Path) -> None:
    source, network = build("fmen", seed=1), build("fmen", seed=2, trained=False)
    assert initialise(network, saved(source, tmp_path)) == ()
    x = image(network, 9, 8)
    torch.testing.assert_close(network(x), source(x))


def test_a_network_of_volumes_starts_from_weights_of_slices(tmp_path: Path) -> None:
    source, network = build("espcn", seed=1), build("espcn", dims=3, seed=2)
    assert initialise(network, saved(source, tmp_path)) == ()
    x = image(source, 9, 8)
    volume = network(x[..., None].expand(-1, -1, -1, -1, 4))
    torch.testing.assert_close(volume, source(x)[..., None].expand_as(volume))


def test_weights_for_colour_are_made_for_one_channel(tmp_path: Path) -> None:
    source = build("vdsr", channels=3, seed=1)
    network = build("vdsr", seed=2)
    assert initialise(network, saved(source, tmp_path)) == ()
    x = image(network, 9, 8)
    wanted = source(x.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
    torch.testing.assert_close(network(x), wanted)


def test_shipped_weights_have_names() -> None:
    weights = next(one for one in shipped() if one.network == "fmen")
    settings = dict(weights.metadata["settings"])
    network = create("fmen", **settings)
    assert initialise(network, weights.path.stem) == ()


def test_a_name_that_is_neither_file_nor_shipped_gets_the_nearest() -> None:
    with pytest.raises(CheckpointError, match="did you mean fmen_2d_x2_bicubic"):
        initialise(build("fmen"), "fmen_2d_x2_bicubik")


def test_weights_of_which_nothing_fits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none of the .* weights of espcn"):
        initialise(build("fmen"), saved(build("espcn"), tmp_path))
