"""Every term of a loss is the number that its definition says."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity
from small import TRAINED, build

from finevox.errors import ConfigError, InputError
from finevox.networks import DISCRIMINATORS, create
from finevox.networks.losses import TERMS, create_loss

# Terms that any network can be trained with, given options where they need some.
GENERAL: dict[str, dict[str, Any]] = {
    "l1": {},
    "mse": {},
    "smooth_l1": {"beta": 0.1},
    "charbonnier": {"eps": 0.01},
    "ssim": {"window": 5},
    "gradient": {},
    "kspace_l1": {},
    "total_variation": {},
}
SPECIAL = {"gradient_branch": "spsr", "multi_output": "multi-resolution", "recursive": "drcn"}
SIDES = {2: (7, 6), 3: (6, 5, 7)}

BOTH_DIMS = pytest.mark.parametrize("dims", [2, 3])


def value(
    name: str, output: torch.Tensor, target: torch.Tensor, options: Mapping[str, Any] | None = None
) -> float:
    """One term of an image and its target."""
    network = build("espcn", output.dim() - 2)
    criterion = create_loss({name: {**(options or {})}}, network).to(output.dtype)
    return float(criterion({"output": output}, target)[name])


def pair(dims: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """An output and a target of two images, in float64."""
    generator = torch.Generator().manual_seed(seed)
    both = torch.rand(2, 2, 1, *SIDES[dims], generator=generator, dtype=torch.float64)
    return both[0], both[1]


def row(*values: float) -> torch.Tensor:
    """An image of one line, in float64."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        # Errors 0, 0.5, -2 and 1.
        ("l1", {}, (0 + 0.5 + 2 + 1) / 4),
        ("mse", {}, (0 + 0.25 + 4 + 1) / 4),
        ("smooth_l1", {}, (0 + 0.125 + 1.5 + 0.5) / 4),
        ("smooth_l1", {"beta": 2.0}, (0 + 0.0625 + 1 + 0.25) / 4),
        ("charbonnier", {}, (1e-3 + sum(math.hypot(e, 1e-3) for e in (0.5, 2, 1))) / 4),
        ("charbonnier", {"eps": 2}, (2 + sum(math.hypot(e, 2) for e in (0.5, 2, 1))) / 4),
        # Their discrete Fourier transform: -0.5, 2 + 0.5i, -3.5, 2 - 0.5i, over the root of 4.
        ("kspace_l1", {}, (0.5 + 2 * math.hypot(2, 0.5) + 3.5) / 2 / 4),
    ],
)
def test_of_four_samples_by_hand(name: str, options: dict[str, Any], expected: float) -> None:
    output, target = row(1, 1.5, 0, 3), row(1, 1, 2, 2)
    assert value(name, output, target, options) == pytest.approx(expected, rel=1e-12)


def test_total_variation_by_hand() -> None:
    """Of the output alone: along rows 1, 2, 3, 4, down columns 3, 4, 5."""
    output = torch.tensor([[0.0, 1, 3], [3, 5 + 1, 0 - 2]]).reshape(1, 1, 2, 3)
    along, down = (1 + 2 + 3 + 8) / 4, (3 + 5 + 5) / 3
    assert value("total_variation", output, torch.zeros(1, 1, 2, 3)) == pytest.approx(along + down)


@BOTH_DIMS
def test_total_variation_of_a_ramp_is_the_sum_of_its_slopes(dims: int) -> None:
    slopes = (0.5, -2.0, 3.0)[:dims]
    axes = torch.meshgrid(*(torch.arange(float(n)) for n in SIDES[dims]), indexing="ij")
    ramp = sum(slope * axis for slope, axis in zip(slopes, axes, strict=True))
    assert isinstance(ramp, torch.Tensor)
    expected = sum(map(abs, slopes))
    assert value("total_variation", ramp[None, None], ramp[None, None]) == pytest.approx(expected)


@BOTH_DIMS
def test_kspace_l1_of_one_wrong_sample_and_of_a_wrong_mean(dims: int) -> None:
    """One sample spreads over all frequencies alike, a constant gathers in one."""
    _, target = pair(dims)
    samples = math.prod(SIDES[dims])
    one = target.clone()
    middle: tuple[Any, ...] = (..., *[1] * dims)
    one[middle] += 0.3
    assert value("kspace_l1", one, target) == pytest.approx(0.3 / math.sqrt(samples))
    assert value("kspace_l1", target - 0.3, target) == pytest.approx(0.3 / math.sqrt(samples))


@BOTH_DIMS
def test_kspace_l1_against_numpy(dims: int) -> None:
    output, target = pair(dims)
    spectra = [np.fft.fftn(x.numpy(), axes=range(2, 2 + dims)) for x in (output, target)]
    expected = np.abs(spectra[0] - spectra[1]).mean() / math.sqrt(math.prod(SIDES[dims]))
    assert value("kspace_l1", output, target) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("dims", "size"), [(2, (20, 17)), (3, (13, 15, 12))])
@pytest.mark.parametrize("peak", [1.0, 4.0])
def test_ssim_against_skimage(dims: int, size: tuple[int, ...], peak: float) -> None:
    """Over the windows that lie inside, which is where skimage needs no padding."""
    rng = np.random.default_rng(0)
    target = ndimage.gaussian_filter(rng.random((2, 1, *size)), (0, 0, *[1] * dims)) * peak
    output = target + 0.05 * peak * rng.standard_normal(target.shape)
    inside = (slice(5, -5),) * dims
    expected = []
    for image, truth in zip(output[:, 0], target[:, 0], strict=True):
        _, similarity = structural_similarity(
            truth,
            image,
            data_range=peak,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        expected.append(similarity[inside].mean())
    actual = value("ssim", torch.tensor(output), torch.tensor(target), {"peak": peak})
    assert actual == pytest.approx(1 - np.mean(expected), abs=1e-5)
    assert 0.01 < actual < 0.9


def test_ssim_needs_its_window() -> None:
    image = torch.zeros(1, 1, 10, 30)
    with pytest.raises(InputError, match=r"window of 11 samples, patches are 10x30; give larger"):
        value("ssim", image, image)
    assert value("ssim", image, image, {"window": 9}) == pytest.approx(0, abs=1e-6)


def gradient_lengths(image: torch.Tensor) -> np.ndarray[Any, Any]:
    """SPSR's gradient map by differences in NumPy, of one channel: 0 outside the image."""
    axes = range(2, image.dim())
    wide = np.pad(image.numpy(), [(0, 0)] * 2 + [(1, 1)] * len(axes))
    squares = np.full(image.shape, 1e-6)
    for axis in axes:
        inside = [slice(None)] * 2 + [slice(1, -1)] * len(axes)
        after, before = list(inside), list(inside)
        after[axis], before[axis] = slice(2, None), slice(None, -2)
        squares += (wide[tuple(after)] - wide[tuple(before)]) ** 2
    lengths: np.ndarray[Any, Any] = np.sqrt(squares)
    return lengths


@BOTH_DIMS
@pytest.mark.parametrize("norm", ["l1", "mse"])
def test_gradient_against_differences(dims: int, norm: str) -> None:
    output, target = pair(dims)
    error = np.abs(gradient_lengths(output) - gradient_lengths(target))
    expected = np.mean(error if norm == "l1" else error**2)
    assert value("gradient", output, target, {"norm": norm}) == pytest.approx(expected, rel=1e-6)


@BOTH_DIMS
def test_gradient_branch_is_compared_with_the_map_of_the_target(dims: int) -> None:
    """Also where the image itself is right; of the map's own prediction 0 is left."""
    _, target = pair(dims)
    given = torch.rand_like(target)
    criterion = create_loss({"gradient_branch": 1}, build("spsr", dims)).double()
    truth = gradient_lengths(target)
    actual = criterion({"output": target, "gradient": given}, target)["gradient_branch"]
    assert actual.item() == pytest.approx(np.abs(given.numpy() - truth).mean(), rel=1e-6)
    right = criterion({"output": target, "gradient": torch.tensor(truth)}, target)["loss"]
    assert right.item() == pytest.approx(0, abs=1e-7)


def test_multi_output_by_hand() -> None:
    """Halves of the squared errors 1 and 9 of two units, and 4 of the sum, of two samples."""
    outputs = {"output": row(2, 0), "unit_1": row(1, 0), "unit_2": row(0, 3)}
    criterion = create_loss({"multi_output": 1}, build("multi-resolution"))
    actual = criterion(outputs, row(0, 0))["multi_output"]
    assert actual.item() == pytest.approx((1 / 2 + 9 / 2 + 4 / 2) / 2)


def test_recursive_by_hand() -> None:
    """The recursions' mean counts less and less, until half of the training is done."""
    outputs = {"output": row(2, 0), "recursion_1": row(1, 0), "recursion_2": row(0, 3)}
    criterion = create_loss({"recursive": {"alpha": 0.8}}, build("drcn"))
    recursions, final = (1 / 2 + 9 / 2) / 2, 4 / 2
    for done, alpha in ((None, 0.8), (0.25, 0.4), (0.375, 0.2), (0.5, 0), (1.0, 0), (0.0, 0.8)):
        if done is not None:
            criterion.set_progress(done)
        actual = criterion(outputs, row(0, 0))["recursive"].item()
        assert actual == pytest.approx((alpha * recursions + (1 - alpha) * final) / 2)


@BOTH_DIMS
@pytest.mark.parametrize("name", SPECIAL)
def test_terms_of_one_network_take_what_it_gives(name: str, dims: int) -> None:
    """And their gradient reaches it."""
    network = build(SPECIAL[name], dims).train()
    x = torch.rand(1, 1, *[6] * dims)
    outputs = network.outputs(x)
    criterion = create_loss({name: 1.0}, network)
    criterion(outputs, torch.rand_like(outputs["output"]))["loss"].backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert sum(float(g.abs().sum()) for g in gradients) > 0


@pytest.mark.parametrize("name", TRAINED)
def test_networks_say_what_they_give_besides_the_image(name: str) -> None:
    network = build(name)
    _, *extra = network.outputs(torch.rand(1, 1, 8, 8))
    beginnings = network.extra_outputs
    assert all(key.startswith(beginnings) for key in extra)
    assert all(any(key.startswith(one) for key in extra) for one in beginnings)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_give_logits(name: str) -> None:
    settings = {} if name == "srgan-discriminator" else {"patch": 32}
    judge = create(name, features=2, **settings).eval()
    outputs = judge.outputs(torch.rand(3, 1, 32, 32))
    assert outputs["logits"].shape == (3,)
    judgement = outputs["output"].flatten()
    if name == "srgan-discriminator":
        judgement = torch.logit(judgement)
    torch.testing.assert_close(judgement, outputs["logits"])


@BOTH_DIMS
@pytest.mark.parametrize("name", [name for name in GENERAL if name != "ssim"])
def test_gradients_are_those_of_finite_differences(name: str, dims: int) -> None:
    output, target = (part[:1, :, :4, :4] for part in pair(dims))
    criterion = create_loss({name: GENERAL[name]}, build("espcn", dims)).double()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return criterion({"output": x}, target)["loss"]

    assert torch.autograd.gradcheck(loss, output.requires_grad_())


@BOTH_DIMS
def test_gradient_of_ssim_leads_to_the_target(dims: int) -> None:
    """MONAI computes it in float32, too coarse for finite differences."""
    output, target = pair(dims)
    criterion = create_loss({"ssim": {"window": 5}}, build("espcn", dims)).double()
    output.requires_grad_()
    before = criterion({"output": output}, target)["loss"]
    (gradient,) = torch.autograd.grad(before, output)
    after = criterion({"output": output - 0.1 * gradient}, target)["loss"]
    slope = gradient.square().sum().item()
    assert before.item() - after.item() == pytest.approx(0.1 * slope, rel=0.2)


@BOTH_DIMS
@pytest.mark.parametrize("name", [name for name in GENERAL if name != "total_variation"])
def test_least_and_with_a_finite_gradient_where_nothing_is_wrong(name: str, dims: int) -> None:
    """Roots and moduli have no derivative at 0: an image without edges or errors is common."""
    target = torch.zeros(1, 1, *SIDES[dims])
    output = target.clone().requires_grad_()
    criterion = create_loss({name: GENERAL[name]}, build("espcn", dims))
    loss = criterion({"output": output}, target)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(GENERAL[name].get("eps", 0), abs=1e-6)
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_loss_is_the_weighted_sum_of_what_is_reported() -> None:
    output, target = pair(2)
    weights: dict[str, Any] = {
        "l1": 2,
        "mse": {"weight": 0.5},
        "charbonnier": {"eps": 0.1},
        "ssim": 0,
    }
    values = create_loss(weights, build("espcn"))({"output": output}, target)
    assert list(values) == ["l1", "mse", "charbonnier", "loss"]
    assert values["l1"].item() == pytest.approx((output - target).abs().mean().item())
    expected = 2 * values["l1"] + 0.5 * values["mse"] + values["charbonnier"]
    assert values["loss"].item() == pytest.approx(expected.item())


def test_low_precision_is_left_for_the_type_of_the_target() -> None:
    """Under autocast, and of an output that autocast made."""
    output, target = (part.float().expand(-1, -1, 7, 6) for part in pair(2))
    criterion = create_loss({name: GENERAL[name] for name in GENERAL}, build("espcn"))
    half = output.bfloat16()
    expected = criterion({"output": half.float()}, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = criterion({"output": half}, target)
    for name, one in actual.items():
        assert one.dtype == torch.float32
        assert torch.equal(one, expected[name])


def test_an_output_of_another_size_is_refused() -> None:
    """Instead of compared after broadcasting."""
    criterion = create_loss({"l1": 1}, build("espcn"))
    with pytest.raises(InputError, match=r"output is 1x1x4x4, the target 1x1x1x4"):
        criterion({"output": torch.zeros(1, 1, 4, 4)}, torch.zeros(1, 1, 1, 4))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"sim": 1.0}, r"unknown loss 'sim'; did you mean ssim\?"),
        ({"nonsense": 1.0}, r"unknown loss 'nonsense'; known: l1, mse, "),
        ({"l1": "1e-3"}, r"weight of loss l1 is '1e-3'; it should be 0 or more"),
        ({"l1": -1}, r"weight of loss l1 is -1; it should be 0 or more"),
        ({"l1": math.nan}, r"weight of loss l1 is nan"),
        ({"l1": True}, r"weight of loss l1 is True"),
        ({}, r"no term with a weight above 0"),
        ({"l1": 0}, r"no term with a weight above 0"),
        (
            {"charbonnier": {"epsilon": 1}},
            r"option 'epsilon' of loss charbonnier; did you mean eps",
        ),
        ({"l1": {"eps": 1}}, r"unknown option 'eps' of loss l1; known: weight"),
        ({"charbonnier": {"eps": "x"}}, r"eps of loss charbonnier is 'x'; it should be a number"),
        ({"charbonnier": {"eps": 0}}, r"loss charbonnier: eps is 0; it should be above 0"),
        ({"ssim": {"window": 7.5}}, r"window of loss ssim is 7.5; it should be a whole number"),
        ({"gradient": {"norm": "l2"}}, r"loss gradient: norm is 'l2'; it should be l1 or mse"),
        ({"multi_output": 1}, r"multi_output compares unit images, which network espcn does not"),
        ({"recursive": 1}, r"recursive compares recursion images, which network espcn does not"),
        ({"gradient_branch": 1}, r"gradient_branch compares gradient images"),
    ],
)
def test_recipes_that_make_no_sense(weights: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_loss(weights, build("espcn"))


@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"alpha": -0.1}, {"until": 0.0}])
def test_shares_that_are_none(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"loss recursive: (alpha|until) is"):
        create_loss({"recursive": options}, build("drcn"))


def test_every_term_is_tested() -> None:
    assert {*GENERAL, *SPECIAL, "perceptual"} == set(TERMS)
