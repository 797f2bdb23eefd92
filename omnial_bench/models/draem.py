"""DRAEM: a reconstruction network and a discriminative network on its output (Zavrtanik et al., ICCV 2021)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from omnial_bench.errors import UserError
from omnial_bench.models.blocks import Localiser, Reconstructor, Style, initialise
from omnial_bench.models.losses import focal_loss, mse_loss, ssim_loss
from omnial_bench.models.options.base import check_sides
from omnial_bench.models.options.reconstruction import DRAEMOptions as Options
from omnial_bench.models.options.reconstruction import NetworksOptions
from omnial_bench.synthesis import draem as synthesis
from omnial_bench.types import RGB, GradientTrained, Prediction, Synthetic

State = Mapping[str, Tensor]


class TwoNetworks(GradientTrained):
    """A reconstruction, of image and JND map if not said otherwise, and a localisation on it and the image, perhaps
    behind a neck that joins both to `loc_width` channels; sizes are multiples of `output_stride`."""

    outputs: ClassVar[int] = 4

    def __init__(
        self, options: NetworksOptions, *, classes: int, styles: Sequence[Style] = (), neck: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.options = options
        first, second = styles or 2 * (Style(output_stride=options.output_stride),)
        self.reconstruction = Reconstructor(outputs=self.outputs, width=options.width, style=first)
        self.neck = neck or nn.Identity()
        inputs = options.loc_width if neck else self.outputs + 3
        self.localisation = Localiser(inputs=inputs, classes=classes, width=options.loc_width, style=second)
        initialise(self)

    def networks(self, images: RGB) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b k h w"]]:
        """The reconstruction and the logits; UserError for a size the stride does not divide."""
        check_sides(images.shape[2:], self.options.output_stride)
        reconstruction = self.reconstruction(images)
        logits = self.localisation(self.neck(torch.cat((reconstruction, images), 1)))
        return reconstruction.to(images), logits.to(images)

    def forward(self, images: RGB) -> Prediction:
        """Logits of normal and each kind of anomaly, and the reconstructed image."""
        reconstruction, logits = self.networks(images)
        return Prediction(logits, reconstruction[:, :3], self.options.smoothing, self.options.pooling)


class DRAEM(TwoNetworks):
    """69,048,579 + 28,374,146 parameters at the paper's widths."""

    outputs = 3
    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options, classes=2)

    def synthesize(self, images: RGB, textures: RGB, generator: torch.Generator) -> Synthetic:
        """Perlin-masked textures; labels 0 and 1."""
        options = self.options
        return synthesis.synthesize(
            images, textures, generator, anomalous=options.anomalous, panels=options.panels, rotation=options.rotation
        )

    def loss(self, batch: Synthetic) -> dict[str, Tensor]:
        """Terms `mse`, `ssim` and `focal`, all of weight 1."""
        reconstruction, logits = self.networks(batch.images)
        return {
            "mse": mse_loss(reconstruction, batch.clean),
            "ssim": ssim_loss(reconstruction, batch.clean),
            "focal": focal_loss(logits, batch.labels),
        }


def load_official(detector: DRAEM, reconstruction_state: State, localisation_state: State, *, bgr: bool = True) -> None:
    """Load two state dicts laid out as the authors' ReconstructiveSubNetwork and DiscriminativeSubNetwork.

    The authors feed images in the order blue, green, red; with `bgr` the colour channels of the first and last
    convolutions are turned over, so that RGB images give their results. UserError where a name is missing or not
    known, or a shape differs; nothing is loaded then.
    """
    first = _renamed(detector.reconstruction, reconstruction_state, "", ("1", "2", "3", "4"))
    second = _renamed(detector.localisation, localisation_state, "_segment", ("_b", "1", "2", "3", "4"))
    if bgr:
        first["encoder.stages.0.0.0.weight"] = first["encoder.stages.0.0.0.weight"][:, [2, 1, 0]]
        first["out.weight"], first["out.bias"] = first["out.weight"][[2, 1, 0]], first["out.bias"][[2, 1, 0]]
        second["encoder.stages.0.0.0.weight"] = second["encoder.stages.0.0.0.weight"][:, [2, 1, 0, 5, 4, 3]]
    detector.reconstruction.load_state_dict(first)
    detector.localisation.load_state_dict(second)


def _renamed(network: nn.Module, state: State, suffix: str, levels: tuple[str, ...]) -> dict[str, Tensor]:
    """The published state under this project's names."""
    own = network.state_dict()
    names = {name: _published(name, suffix, levels) for name in own}
    lacking = sorted(set(names.values()) - state.keys()) or sorted(state.keys() - set(names.values()))
    if lacking:
        what = f"{'has the unknown entry' if lacking[0] in state else 'lacks'} {lacking[0]}"
        raise UserError(f"expected DRAEM's published layout ({len(names)} entries), but the state dict {what}")
    for name, published in names.items():
        if own[name].shape != state[published].shape:
            got, expected = tuple(state[published].shape), tuple(own[name].shape)
            raise UserError(f"expected {published} of shape {expected}, got {got}; try a detector of the file's widths")
    return {name: state[published] for name, published in names.items()}


def _published(name: str, suffix: str, levels: tuple[str, ...]) -> str:
    """The published name of a parameter: `encoder.stages.0.0.3.weight` is `encoder.block1.3.weight`, and so on.

    The published `up` modules hold the upsampling at index 0, so that a unit's parts stand one place later.
    """
    match name.split("."):
        case ["encoder", "stages", scale, "0", part, leaf]:
            return f"encoder{suffix}.block{int(scale) + 1}.{part}.{leaf}"
        case ["levels", level, "unit", part, leaf]:
            return f"decoder{suffix}.up{levels[int(level)]}.{int(part) + 1}.{leaf}"
        case ["levels", level, "stage", "0", part, leaf]:
            return f"decoder{suffix}.db{levels[int(level)]}.{part}.{leaf}"
        case ["out", leaf]:
            return f"decoder{suffix}.fin_out.0.{leaf}"
    raise AssertionError(f"no published name for {name}")
