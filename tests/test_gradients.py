"""Gradients that a library cuts: restored and held against forward passes, or refused; models of anomalib."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import omnial_bench as ob
from omnial_bench.evaluation.suited import check_gradient
from omnial_bench.models.outside.adapter import adapt
from omnial_bench.models.outside.gradients import ForwardOnly, Whole

SIDE = 24


def smooth(n: int, seed: int) -> Tensor:
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")


NORMALS = smooth(8, 0)


def features() -> nn.Module:
    """Frozen random features, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 8, 3, padding=1))
    return net.eval().requires_grad_(False)


class InferenceBatch(NamedTuple):
    """anomalib's, by its names and their order."""

    pred_score: Tensor | None = None
    pred_label: Tensor | None = None
    anomaly_map: Tensor | None = None
    pred_mask: Tensor | None = None


Extract = Callable[[nn.Module, Tensor], Tensor]


def in_no_grad(extractor: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return extractor(images)  # type: ignore[no-any-return]


@torch.no_grad()
def decorated_and_detached(extractor: nn.Module, images: Tensor) -> Tensor:
    return extractor(images).detach().data  # type: ignore[no-any-return]


@torch.inference_mode()
def in_inference_mode(extractor: nn.Module, images: Tensor) -> Tensor:
    return extractor(images)  # type: ignore[no-any-return]


def by_numpy(extractor: nn.Module, images: Tensor) -> Tensor:
    return torch.from_numpy(extractor(images).detach().numpy().copy())


class Distance(nn.Module):
    """As PaDiM and PatchCore: the extractor alone in no_grad, so that nothing of the gradient is left."""

    def __init__(self, extract: Extract = in_no_grad) -> None:
        super().__init__()
        self.extractor, self.cut = features(), extract
        self.register_buffer("mean", self.extractor(NORMALS).mean(0))

    def extract(self, images: Tensor) -> Tensor:
        return self.cut(self.extractor, images)

    def forward(self, images: Tensor) -> InferenceBatch:
        maps = (self.extract(images) - self.mean).square().sum(1, keepdim=True)
        return InferenceBatch(anomaly_map=maps, pred_score=maps.amax((-2, -1)))


class Teacher(Distance):
    """As STFPM: one branch of two is cut, which leaves a gradient, but not that of the map."""

    def __init__(self, extract: Extract = in_no_grad) -> None:
        super().__init__(extract)
        self.student = nn.Conv2d(3, 8, 1).requires_grad_(False)

    def forward(self, images: Tensor) -> InferenceBatch:
        return InferenceBatch(anomaly_map=(4 * self.extract(images) - self.student(images)).square().mean(1))


class Lost(torch.autograd.Function):
    """A hand-written backward that is wrong."""

    @staticmethod
    def forward(_: object, values: Tensor) -> Tensor:
        return values.square()

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        return gradient


def adapted(model: nn.Module) -> ob.Detector:
    return adapt(model, [NORMALS])


@pytest.mark.parametrize(
    ("make", "extract"), [(Distance, in_no_grad), (Distance, decorated_and_detached), (Teacher, in_no_grad)]
)
def test_what_is_cut_is_restored_and_says_the_same(make: type[Distance], extract: Extract) -> None:
    torch.manual_seed(0)
    model = make(extract)
    whole = ob.from_anomalib(model)
    cut = adapted(whole.module)  # type: ignore[arg-type]
    with pytest.raises(ob.UserError, match=f"the gradient of {make.__name__} cannot be restored"):
        check_gradient(cut, NORMALS[:2])
    detector = adapted(whole)
    assert check_gradient(detector, NORMALS[:2]) >= 0.98
    images = smooth(2, 1)
    with torch.no_grad():
        plain, said = cut(images).log_odds, detector(images).log_odds
    assert torch.equal(plain, said)
    assert torch.equal(detector(images.requires_grad_()).log_odds.detach(), said)
    assert torch.is_grad_enabled()


def test_the_gradient_is_that_of_the_closed_form() -> None:
    class Square(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                first = images.detach() ** 2
            return (first + images.data).sum(1)

    images = smooth(1, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(Whole(Square())(images).sum(), images)
    torch.testing.assert_close(gradient, 2 * images.detach() + 1)


def test_without_a_gradient_asked_for_nothing_is_kept() -> None:
    whole = Whole(Distance())
    with torch.no_grad():
        assert not whole(NORMALS.clone().requires_grad_()).anomaly_map.requires_grad
    assert not whole(NORMALS).anomaly_map.requires_grad


@pytest.mark.parametrize(
    ("make", "extract", "why"),
    [
        (Distance, in_inference_mode, "cannot be restored: (its output does not depend on it|Inference tensors)"),
        (Distance, by_numpy, r"Can't call numpy\(\) on Tensor that requires grad"),
        # Legal for a tensor that is cut, and for no other.
        (
            Distance,
            lambda net, x: net(x).detach().requires_grad_(False),
            "cannot be restored: you can only change requires_grad flags of leaf variables",
        ),
        # The cut branch leaves torch through a list of numbers, which no mode sees.
        (Teacher, lambda net, x: torch.tensor(net(x).tolist()), "agree to a cosine of"),
        (Distance, lambda net, x: Lost.apply(4 * net(x)), "agree to a cosine of"),
        (
            Distance,
            lambda net, x: net((4 * x).round() / 4),
            "its output does not move when its input does|agree to a cosine of",
        ),
    ],
)
def test_what_cannot_be_restored_is_refused_with_the_reason(make: type[Distance], extract: Extract, why: str) -> None:
    torch.manual_seed(0)
    detector = adapted(ob.from_anomalib(make(extract)))
    with pytest.raises(ob.UserError, match=why) as caught:
        check_gradient(detector, NORMALS[:2])
    assert "\n" not in str(caught.value) and make.__name__ in str(caught.value)


def test_on_request_it_is_attacked_by_forward_passes_alone() -> None:
    module = ob.from_anomalib(Distance(by_numpy), gradient=False)
    assert isinstance(module, ForwardOnly)
    detector = adapted(module)
    images = smooth(2, 1).requires_grad_()
    assert not detector(images).log_odds.requires_grad


class Model(nn.Module):
    """As AnomalibModule: a pre-processor, a torch model, and a post-processor that clamps."""

    def __init__(self, model: nn.Module, pre_processor: nn.Module | None = None) -> None:
        super().__init__()
        self.model, self.pre_processor = model, pre_processor

    def forward(self, images: Tensor) -> InferenceBatch:
        maps = self.model(self.pre_processor(images) if self.pre_processor else images).anomaly_map
        return InferenceBatch(anomaly_map=(maps / maps.amax() * 2).clamp(0, 1))


class Halve(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images / 2


class CenterCrop(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images[..., 2:-2, 2:-2]


def test_the_map_is_that_before_the_post_processor_and_behind_the_pre_processor() -> None:
    model = Model(Distance(), Halve())
    maps, score = ob.from_anomalib(model)(NORMALS)
    right = model.model(NORMALS / 2)
    assert torch.equal(maps, right.anomaly_map) and torch.equal(score, right.pred_score)
    assert model(NORMALS).anomaly_map.amax() == 1
    assert not ob.from_anomalib(model).training


class Nothing(nn.Module):
    def forward(self, images: Tensor) -> InferenceBatch:
        return InferenceBatch(pred_score=images.mean((1, 2, 3)))


class Refuses(nn.Module):
    @staticmethod
    def load_from_checkpoint(path: Path, **given: object) -> nn.Module:
        assert given == {"map_location": "cpu", "weights_only": True}
        if "good" in path.name:
            return Model(Distance())
        if "other" in path.name:
            raise RuntimeError("Error(s) in loading state_dict for Refuses:\n\tMissing key(s)")
        raise RuntimeError("Weights only load failed\nUnsupported global")


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ob.UserError, match="Nothing gives image scores and no anomaly map"):
        adapted(ob.from_anomalib(Nothing()))
    with pytest.raises(ob.UserError, match="expected an InferenceBatch from Conv2d, got Tensor"):
        adapted(ob.from_anomalib(nn.Conv2d(3, 1, 1)))
    with pytest.raises(ob.UserError, match=r"pre-processor crops its images \(CenterCrop\)"):
        ob.from_anomalib(Model(Distance(), nn.Sequential(CenterCrop())))
    with pytest.raises(ob.UserError, match="no checkpoint of anomalib at"):
        ob.from_anomalib(tmp_path / "none.ckpt", Refuses)
    for name in ("bad.ckpt", "good.ckpt", "other.ckpt"):
        (tmp_path / name).touch()
    with pytest.raises(ob.UserError, match="expected the model's class beside the checkpoint"):
        ob.from_anomalib(tmp_path / "bad.ckpt")
    with pytest.raises(ob.UserError, match=r"without running code from it .*Weights only load failed Unsupported"):
        ob.from_anomalib(tmp_path / "bad.ckpt", Refuses)
    with pytest.raises(ob.UserError, match=r"other\.ckpt is no checkpoint of Refuses as it is here .*Missing key"):
        ob.from_anomalib(tmp_path / "other.ckpt", Refuses)
    with pytest.raises(ob.UserError, match="is no checkpoint of Padim as it is here"):
        ob.from_anomalib(tmp_path / "other.ckpt", "Padim")
    with pytest.raises(ob.UserError, match="expected a model of anomalib or the path of a checkpoint, got NoneType"):
        ob.from_anomalib(None)  # type: ignore[arg-type]
    assert isinstance(ob.from_anomalib(str(tmp_path / "good.ckpt"), Refuses), Whole)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Padim", "Patchcore"])
def test_models_of_anomalib_itself(name: str) -> None:
    models = pytest.importorskip("anomalib.models", exc_type=ImportError)
    kind = getattr(models, name)
    model = kind(backbone="resnet18", pre_trained=False, pre_processor=kind.configure_pre_processor((64, 64)))
    images = F.interpolate(NORMALS, size=(64, 64), mode="bilinear")
    model.model.train()
    model.model(images)
    if name == "Padim":
        model.model.fit()
    else:
        model.model.subsample_embedding(0.1)
    unseen = F.interpolate(smooth(8, 3), size=(64, 64), mode="bilinear")
    detector = adapt(ob.from_anomalib(model), [unseen])
    assert check_gradient(detector, unseen[:2]) >= 0.98
