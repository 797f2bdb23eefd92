"""Any module, or what makes one, as a Detector on a data set: built, fitted by its own maker, and given a scale."""

import hashlib
import logging
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from omnial_bench.config.schema import Paradigm, Training
from omnial_bench.data.dataset import Dataset, scan
from omnial_bench.data.images import to_float
from omnial_bench.errors import UserError, is_printable
from omnial_bench.evaluation.suited import check_gradient
from omnial_bench.models.fitted import Fitted, Normals
from omnial_bench.models.fitting import learn
from omnial_bench.models.outside import foreign
from omnial_bench.models.outside.adapter import Adapted, adapt, check_detector
from omnial_bench.models.outside.calibration import normal_scores
from omnial_bench.models.outside.gradients import Whole
from omnial_bench.pipeline.site import Site, calibration_images, check_seed, check_size, held_out_images
from omnial_bench.trust import drawing_from, guarded
from omnial_bench.types import Detector, Untrained

log = logging.getLogger(__name__)

Factory = Callable[..., nn.Module]
BATCH = 8
"""Images shown at once to a module whose scale is taken."""
PROVEN = 2
"""Images that a restored gradient is held against forward passes on."""


@dataclass(frozen=True)
class Wanted:
    """A detector from elsewhere as a command names it: `factory` is `package.module:object`, `name` that of its rows,
    and `category` the only one that it serves, None for all."""

    name: str
    factory: str
    category: str | None = None

    @classmethod
    def named(cls, text: str) -> "Wanted":
        """From `NAME=package.module:object`, or without a name, which then is the object's in lower case."""
        name, equals, factory = text.partition("=")
        if not equals:
            name, factory = text.rpartition(":")[2].replace("_", "-").lower(), text
        return cls(check_name(name, f" before = in {text!r}"), factory)


def check_name(name: str, where: str = "") -> str:
    """The name of a detector's rows, which folders bear too; UserError where it cannot be one."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"expected a name of letters, digits, dots and dashes{where}, got {name!r}")
    return name


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """The detectors from elsewhere that a command names, and how they are made.

    `detectors` are written `package.module:object`, after `NAME=` where their rows are to have another name than the
    object's, and trusted by that.
    """

    detectors: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """`key=value` for what makes them."""
    paradigm: Paradigm = "unified"
    """`separate`: one is made for each category."""
    held_out: Path | None = None
    """A folder of normal images that they take their scale from."""
    size: tuple[int, int] = (256, 256)
    """Their network's height and width."""

    def check(self) -> None:
        """UserError for what is said of them where there are none: a checkpoint keeps its own."""
        given = {"--option": self.options, "--paradigm": self.paradigm != "unified", "--held-out": self.held_out}
        for name, value in given.items():
            if value and not self.detectors:
                raise UserError(
                    f"expected {name} with a --detector, got checkpoints alone, which keep theirs; leave it out"
                )

    @property
    def keywords(self) -> dict[str, Any]:
        """What their factories are called with; UserError for one that is given twice."""
        keywords: dict[str, Any] = {}
        for key, value in map(option_of, self.options):
            if key in keywords:
                raise UserError(f"expected each --option once, got {key} twice; give it one value")
            keywords[key] = value
        return keywords

    def wanted(self, categories: Sequence[str]) -> list["Wanted"]:
        """Each of them, one a category where each has its own."""
        named = [Wanted.named(text) for text in self.detectors]
        if self.paradigm == "unified":
            return named
        return [replace(wanted, category=category) for wanted in named for category in categories]

    def build(self, wanted: Wanted, dataset: Dataset, *, device: torch.device, seed: int) -> Detector:
        """One of them for its categories of the data; UserError as of `detector_at`."""
        categories = dataset.categories if wanted.category is None else (wanted.category,)
        site = Site(
            dataset=dataset, categories=categories, size=self.size, device=device, seed=seed, options=self.keywords,
            held_out=self.held_out,
        )  # fmt: skip
        return detector_at(site, wanted.factory, name=wanted.name)


def option_of(text: str) -> tuple[str, Any]:
    """`key=value` as a keyword and its value, which is read as TOML where it is TOML, and taken as text otherwise."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier() or not is_printable(value):
        raise UserError(f"expected an option such as depth=3, a keyword of the factory and its value, got {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def weights_of(detector: nn.Module) -> str:
    """SHA-256 of the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    with guarded(detector.known_as if isinstance(detector, Untrained) else detector, "give its state"):
        state = detector.state_dict()
    for name, tensor in state.items():
        if isinstance(tensor, Tensor):
            flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(f"{name}\0{tensor.dtype}{tuple(tensor.shape)}\0".encode() + flat.numpy().tobytes())
    return digest.hexdigest()


def detector_at(site: Site, source: nn.Module | Factory | str, *, name: str = "detector") -> Detector:
    """`source` as a Detector in eval mode, on the site's device.

    `source` is a Detector, which is given back; a module, taken as it is; or a factory, a callable or the name
    `package.module:object` of one, which is called with the site's options and with those of `normals` (n, 3, h, w),
    `size`, `categories`, `category` (where there is one) and `data` that it has parameters for. A factory that takes
    `normals` gets four fifths of the training images, and the scale is taken from the others; a Fitted that it makes
    and that is not fitted yet is fitted in the same way. Any other module may have been fitted on all of them, so that
    its scale is in doubt, which is logged. A name is code that runs: it is to come from the user and no file. UserError
    for a source that fails to build, as of `adapt`, `check_detector` and `learn`, and for a `Whole` as of
    `check_gradient`.
    """
    module, fitted = _built(site, source, name)
    if isinstance(module, Detector):
        if isinstance(module, Fitted) and not (isinstance(source, nn.Module) or module.is_scaled):
            generator = torch.Generator().manual_seed(site.seed)
            fitted_on = Normals(site.fitted_on(), Training(batch=BATCH), device=site.device)
            held_out = held_out_images(site, fitted=True)
            learn(module.to(site.device), fitted_on, calibration_images(held_out[0]), generator)
            module.normal_scores = normal_scores(module, *held_out, site.device)
            return module
        if not isinstance(module, Untrained):
            check_detector(module.to(site.device), site.size, site.device)
        if site.held_out is not None and not module.normal_scores:
            module.normal_scores = normal_scores(module.eval(), *held_out_images(site, fitted=False), site.device)
        return module.eval()
    with guarded(module, f"go to {site.device}"):
        module.to(site.device)
    held_out = held_out_images(site, fitted=fitted)
    normals = calibration_images(held_out[0])
    detector = adapt(module, _batches(normals, site.device)).to(site.device)
    if site.held_out is not None or fitted:
        detector.normal_scores = normal_scores(detector, *held_out, site.device)
    elif isinstance(detector, Adapted) and detector.is_scaled:
        log.warning(
            "%s: its scale comes from training images, on which it may have been fitted; if it was, its log-odds "
            "are too high, while rankings and attacks of linear or ranking objectives are unmoved; give held_out "
            "images or a factory that takes normals", name,
        )  # fmt: skip
    if isinstance(module, Whole):
        check_gradient(detector, next(_batches(normals, site.device))[:PROVEN])
    return detector


def adapt_module(
    source: nn.Module | Factory | str,
    data: str | Path,
    *,
    categories: Sequence[str] | None = None,
    size: tuple[int, int] = (256, 256),
    name: str = "detector",
    options: Mapping[str, Any] | None = None,
    held_out: Tensor | str | Path | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Detector:
    """A module, or what makes one, as a Detector for a data set: as `benchmark` does with the same words."""
    dataset = scan(Path(data), categories)
    site = Site(
        dataset=dataset, categories=dataset.categories, size=check_size(size), device=torch.device(device),
        seed=check_seed(seed), options=options or {}, held_out=held_out,
    )  # fmt: skip
    return detector_at(site, source, name=name)


def _built(site: Site, source: nn.Module | Factory | str, name: str) -> tuple[nn.Module, bool]:
    """The module, and whether it was fitted on what it was handed alone."""
    if isinstance(source, nn.Module):
        return source, False
    fitted = False

    def normals() -> Tensor:
        nonlocal fitted
        fitted = True
        return to_float(site.fitted_on())

    # What a factory is given if it has a parameter of that name.
    offers: dict[str, Callable[[], Any]] = {
        "normals": normals, "size": lambda: site.size, "categories": lambda: site.categories,
        "data": lambda: str(site.dataset.root),
    }  # fmt: skip
    if len(site.categories) == 1:
        offers["category"] = lambda: site.categories[0]
    with drawing_from(torch.Generator().manual_seed(site.seed)):
        if isinstance(source, str):
            module = foreign.make(source, site.options, trusted=[source], where="the command", offers=offers)
        elif callable(source):
            module = foreign.call(source, name, site.options, offers)
        else:
            raise UserError(
                f"expected a torch.nn.Module, a function that makes one or its name package.module:object for {name}, "
                f"got {type(source).__name__}"
            )
    return module, fitted


def _batches(images: Tensor, device: torch.device) -> Iterator[Float[Tensor, "b 3 h w"]]:
    for part in torch.split(images, BATCH):
        yield part.to(device) if part.is_floating_point() else to_float(part, device)
