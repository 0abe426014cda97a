"""The weights that come with the package: listed, found, chosen, and said where there are none."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from finevox.errors import CheckpointError, InputError
from finevox.networks import (
    ARCHITECTURES,
    Shipped,
    choose_shipped,
    create,
    find_shipped,
    load,
    named_weights,
    save,
    shipped,
)
from finevox.networks.shipped import Quality
from finevox.transforms.grid import scale_text

FACTS = {"convention": "fov", "data": "phantoms", "licence": "CC0-1.0"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in the place of the package's, and the list read anew."""
    module = importlib.import_module("finevox.networks.shipped")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    shipped.cache_clear()
    yield tmp_path
    shipped.cache_clear()


def put(
    folder: Path,
    name: str,
    dims: int = 2,
    scale: int | tuple[int, ...] = 2,
    degradation: str = "bicubic",
    gain: float | None = None,
) -> Path:
    """Random weights in the folder."""
    path = folder / f"{name}-{dims}-{scale_text(scale)}-{degradation}.safetensors"
    facts = {} if gain is None else {"validation_gain_db": gain}
    save(create(name, dims, scale), path, {**FACTS, **facts, "degradation": degradation})
    return path


def test_each_request_gets_its_file(folder: Path) -> None:
    """Every part of a request counts."""
    requests = [
        ("espcn", 2, 2, "bicubic"),
        ("espcn", 2, 2, "kspace"),
        ("espcn", 2, 3, "bicubic"),
        ("espcn", 3, 2, "bicubic"),
        ("vdsr", 2, 2, "bicubic"),
    ]
    paths = {request: put(folder, *request) for request in requests}
    assert {request: find_shipped(*request) for request in requests} == paths
    assert [weights.path for weights in shipped()] == sorted(paths.values())
    assert {weights.request for weights in shipped()} == set(requests)


@pytest.mark.parametrize(
    "request_",
    [("fmen", 2, 2, "bicubic"), ("espcn", 3, 2, "bicubic"), ("espcn", 2, 3, "bicubic")],
)
def test_request_without_weights_is_answered_with_what_there_is(
    folder: Path, request_: tuple[str, int, int, str]
) -> None:
    """The message has the request, every file, and the two ways out."""
    put(folder, "espcn", 2, 2, "bicubic")
    put(folder, "vdsr", 2, 4, "kspace")
    with pytest.raises(CheckpointError) as caught:
        find_shipped(*request_)
    asked, answer = str(caught.value).split("Shipped:")
    name, dims, scale, degradation = request_
    assert f"{name} {dims}-D x{scale} {degradation}" in asked
    assert "espcn 2-D x2 bicubic; vdsr 2-D x4 kspace" in answer
    assert "--weights" in answer
    assert "--random-weights" in answer


def test_factors_that_differ_are_written_as_people_do(folder: Path) -> None:
    """In what is asked for and in what there is."""
    put(folder, "espcn", 3, (1, 1, 3), "bicubic")
    assert find_shipped("espcn", 3, (1, 1, 3), "bicubic").parent == folder
    with pytest.raises(CheckpointError, match=r"for vdsr 2-D 1x3 bicubic\. .* espcn 3-D 1x1x3 bic"):
        find_shipped("vdsr", 2, (1, 3), "bicubic")


@pytest.mark.usefixtures("folder")
def test_empty_folder_is_no_special_case() -> None:
    """The list is empty, and the message says so."""
    assert shipped() == ()
    with pytest.raises(CheckpointError, match="Shipped: none"):
        find_shipped("espcn", 2, 2, "bicubic")


@pytest.mark.usefixtures("folder")
def test_unknown_network_is_not_mistaken_for_missing_weights() -> None:
    """The nearest name, rather than a list of weights."""
    with pytest.raises(InputError, match="did you mean espcn"):
        find_shipped("escpn", 2, 2, "bicubic")


def test_fast_computes_least(folder: Path) -> None:
    """Whatever it gained; the reason names the quality and the number of the table."""
    by_cost = sorted(("vdsr", "espcn", "srcnn"), key=lambda name: ARCHITECTURES[name].mult_adds)
    for name, gain in zip(by_cost, (0.5, 2.0, 1.0), strict=True):
        put(folder, name, gain=gain)
    choice = choose_shipped(2, 2, "bicubic")
    assert choice.weights.network == by_cost[0]
    assert choice.reason.startswith("fast: the fewest multiply-adds")
    assert f"{ARCHITECTURES[by_cost[0]].mult_adds / 1e9:.2f} G" in choice.reason
    assert "of 3 shipped for 2-D x2 bicubic" in choice.reason


def test_best_gained_most(folder: Path) -> None:
    """Whatever it costs; weights that tell no gain come after those that do."""
    put(folder, "espcn", gain=-0.1)
    put(folder, "srcnn", gain=-0.2)
    put(folder, "vdsr")
    choice = choose_shipped(2, 2, "bicubic", "best")
    assert (choice.weights.network, choice.weights.gain_db) == ("espcn", -0.1)
    assert "best: the largest gain on validation subjects (-0.10 dB) of 3" in choice.reason


def test_best_where_no_gain_is_recorded(folder: Path) -> None:
    put(folder, "espcn")
    put(folder, "vdsr")
    choice = choose_shipped(2, 2, "bicubic", "best")
    assert choice.weights.network == "vdsr"
    assert "no gain is recorded" in choice.reason


@pytest.mark.parametrize("quality", ["fast", "best"])
def test_a_dictionary_is_chosen_only_where_no_network_fits(quality: Quality, folder: Path) -> None:
    save(
        create("aplus", atoms=4, components=3),
        folder / "aplus.safetensors",
        {**FACTS, "degradation": "bicubic"},
    )
    assert choose_shipped(2, 2, "bicubic", quality).weights.network == "aplus"
    put(folder, "espcn")
    shipped.cache_clear()
    assert choose_shipped(2, 2, "bicubic", quality).weights.network == "espcn"


@pytest.mark.parametrize(
    "request_", [(3, 2, "bicubic"), (2, 3, "bicubic"), (2, 2, "kspace"), (2, (1, 2), "bicubic")]
)
def test_every_part_of_a_request_counts_in_a_choice(
    request_: tuple[int, int | tuple[int, ...], str], folder: Path
) -> None:
    put(folder, "espcn", 2, 2, "bicubic", gain=9.0)
    with pytest.raises(CheckpointError, match="Shipped: espcn 2-D x2 bicubic"):
        choose_shipped(*request_)
    wanted = put(folder, "vdsr", *request_)
    shipped.cache_clear()
    assert choose_shipped(*request_, "best").weights.path == wanted


def test_weights_have_a_name(folder: Path) -> None:
    """A file that is there comes first; the message lists the names."""
    path = put(folder, "espcn")
    assert named_weights("espcn-2-2-bicubic") == path
    assert named_weights("espcn-2-2-bicubic.safetensors") == path
    assert named_weights(str(path)) == path
    with pytest.raises(InputError, match=r"espcn_x2: no such file.* espcn-2-2-bicubic"):
        named_weights("espcn_x2")


def test_damaged_file_in_the_package_is_named(folder: Path) -> None:
    """An installation that went wrong, and weights that do not say what they are."""
    path = put(folder, "espcn", 2, 2, "bicubic")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match=path.name):
        shipped()


@pytest.mark.parametrize("weights", shipped(), ids=str)
@torch.no_grad()
def test_shipped_weights_are_what_they_say(weights: Shipped) -> None:
    """Each file loads, fits its record, and a constant image stays close to constant."""
    network = load(weights.path)
    assert network.spec.name == weights.network
    assert find_shipped(*weights.request) == weights.path
    assert {"convention", "data", "licence", "degradation"} <= set(network.record)
    dims = network.settings["spatial_dims"]
    side = 12
    out = network.inference_form()(torch.full((1, 1, *[side] * dims), 0.5))
    margin = out.shape[-1] // 3
    inside = out[(slice(None), slice(None), *[slice(margin, -margin)] * dims)]
    assert (inside - 0.5).abs().max() < 0.1
