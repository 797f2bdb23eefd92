"""Any module, or what makes one, as a Detector on a data set: built, fitted by its own maker, and given a scale."""

import hashlib
import logging
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from omnial_bench.config.schema import Training
from omnial_bench.data.dataset import Dataset, scan
from omnial_bench.data.decode import image_files, read_image
from omnial_bench.data.images import to_float
from omnial_bench.errors import UserError, is_printable
from omnial_bench.evaluation.suited import check_gradient
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.fitting import learn
from omnial_bench.models.normals import Normals
from omnial_bench.models.outside import foreign
from omnial_bench.models.outside.adapter import Adapted, adapt, check_detector
from omnial_bench.models.outside.calibration import CALIBRATION, LEAST, held_out
from omnial_bench.models.outside.gradients import Whole
from omnial_bench.trust import drawing_from
from omnial_bench.types import Detector, Untrained

log = logging.getLogger(__name__)

Factory = Callable[..., nn.Module]
BATCH = 8
"""Images shown at once to a module whose scale is taken."""
PROVEN = 2
"""Images that a restored gradient is held against forward passes on."""
SEEDS = 2**31
"""One more than the largest seed."""
NORMALS = "normals"
"""The parameter of a factory that is handed the normal images to fit on."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a module is to work: the data, the categories that it serves, and the network's height and width."""

    dataset: Dataset
    categories: tuple[str, ...]
    size: tuple[int, int]
    device: torch.device
    seed: int = 0
    held_out: Tensor | Path | None = None
    """Normal images that nothing was fitted on: (n, 3, h, w) in [0, 1], or a folder of files, or one of folders that
    are named after the categories; None: training ones."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords for a factory."""

    def normals(self) -> UInt8[Tensor, "n 3 h w"]:
        """The training images of its categories."""
        return self.dataset.load("train", self.categories, self.size).images

    def offers(self) -> dict[str, Callable[[], Any]]:
        """What a factory is given if it has a parameter of that name."""
        offers: dict[str, Callable[[], Any]] = {
            NORMALS: lambda: to_float(self.fitted_on()), "size": lambda: self.size,
            "categories": lambda: self.categories, "data": lambda: str(self.dataset.root),
        }  # fmt: skip
        return offers | ({"category": lambda: self.categories[0]} if len(self.categories) == 1 else {})

    def fitted_on(self) -> UInt8[Tensor, "n 3 h w"]:
        """The training images, without those that are held out of them."""
        images = self.normals()
        if self.held_out is not None:
            return images
        kept = set(held_out(len(images)))
        return images[[place for place in range(len(images)) if place not in kept]]


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


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """A network's height and width; UserError where it is no pair of whole numbers above 0."""
    if not isinstance(size, tuple | list) or len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise UserError(f"expected size as height and width such as (256, 256), got {size!r}")
    return size[0], size[1]


def check_seed(seed: int) -> int:
    """A seed as the command line takes it; UserError for any other."""
    if type(seed) is not int or not 0 <= seed < SEEDS:
        raise UserError(f"expected a seed from 0 to {SEEDS - 1}, a whole number, got {seed!r}")
    return seed


def check_own(detectors: Sequence[str], options: Sequence[str], paradigm: str, held_out: Path | None) -> None:
    """UserError for what is said of detectors from elsewhere where there are none: a checkpoint keeps its own."""
    given = {"--option": options, "--paradigm": paradigm != "unified", "--held-out": held_out}
    if not detectors and (alone := [name for name, value in given.items() if value]):
        raise UserError(
            f"expected {alone[0]} with a --detector, got checkpoints alone, which keep theirs; leave it out"
        )


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
    for name, tensor in detector.state_dict().items():
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
            learn(module.to(site.device), fitted_on, _calibration(site, fitted=True), generator)
        elif not isinstance(module, Untrained):
            check_detector(module.to(site.device), site.size, site.device)
        return module.eval()
    module.to(site.device)
    normals = _calibration(site, fitted)
    detector = adapt(module, _batches(normals, site.device)).to(site.device)
    if site.held_out is None and not fitted and isinstance(detector, Adapted) and detector.is_scaled:
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
        seed=check_seed(seed),
        options=options or {}, held_out=Path(held_out) if isinstance(held_out, str) else held_out,
    )  # fmt: skip
    return detector_at(site, source, name=name)


def _built(site: Site, source: nn.Module | Factory | str, name: str) -> tuple[nn.Module, bool]:
    """The module, and whether it was fitted on what it was handed alone."""
    if isinstance(source, nn.Module):
        return source, False
    taken: list[str] = []

    def noting(key: str, offer: Callable[[], Any]) -> Callable[[], Any]:
        def give() -> Any:
            taken.append(key)
            return offer()

        return give

    offers = {key: noting(key, offer) for key, offer in site.offers().items()}
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
    return module, NORMALS in taken


def _calibration(site: Site, fitted: bool) -> Tensor:
    """Normal images to take a scale from, as bytes or as float in [0, 1]."""
    if isinstance(site.held_out, Path):
        return _read_folder(site, site.held_out)
    if site.held_out is not None:
        _check_own(site, "held_out images")
        images = _checked(site.held_out)
        return images[_spread(range(len(images)))]
    images = site.normals()
    return images[_spread(held_out(len(images)) if fitted else range(len(images)))]


def _check_own(site: Site, got: str) -> None:
    """UserError where images would be taken for those of every category, and each has a module of its own."""
    if len(site.categories) < len(site.dataset.categories):
        raise UserError(
            f"expected held_out images for each category, which has a module of its own, got {got} for all; give a "
            f"folder that holds one named {site.categories[0]} and so on"
        )


def _spread(places: Sequence[int]) -> list[int]:
    """At most `CALIBRATION` of them, evenly."""
    count = min(len(places), CALIBRATION)
    return [places[index * len(places) // count] for index in range(count)]


def _batches(images: Tensor, device: torch.device) -> Iterator[Float[Tensor, "b 3 h w"]]:
    for part in torch.split(images, BATCH):
        yield part.to(device) if part.is_floating_point() else to_float(part, device)


def _checked(images: Tensor) -> Tensor:
    if not isinstance(images, Tensor):
        raise UserError(f"expected held_out images as a tensor or a folder, got {type(images).__name__}")
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UserError(
            f"expected held_out images of shape (n, 3, h, w), float in [0, 1], got {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise UserError(f"expected held_out images in [0, 1], got {images.min():g} to {images.max():g}")
    return images


def _read_folder(site: Site, folder: Path) -> UInt8[Tensor, "n 3 h w"]:
    """The images in the folders of the site's categories, or, where there are none, in the folder itself."""
    if not folder.is_dir():
        raise UserError(f"no folder of held_out images at {folder}; check the path")
    folders = [folder / category for category in site.categories if (folder / category).is_dir()]
    if not folders:
        _check_own(site, "one folder")
    files = [path for one in folders or [folder] for path in image_files(one)]
    if len(files) < LEAST:
        raise UserError(f"expected at least {LEAST} held_out images in {folder}, got {len(files)}; add some")
    chosen = [files[place] for place in _spread(range(len(files)))]
    images = np.stack([read_image(path, site.size)[0].transpose(2, 0, 1) for path in chosen])
    return torch.from_numpy(images)
