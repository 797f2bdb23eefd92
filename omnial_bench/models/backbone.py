"""Features of a trained network: frozen, whole in their gradient, and no part of a detector's checkpoint."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from omnial_bench.config.backbones import BackboneRecord, Level
from omnial_bench.config.load import read_backbone
from omnial_bench.errors import UserError
from omnial_bench.models.networks import NETWORKS, freeze
from omnial_bench.models.weights import read_weights
from omnial_bench.types import RGB


class Levels(nn.Module):
    """A network up to its last tap: images or features to what it makes at each tap, the finest first."""

    def __init__(self, network: nn.Sequential, levels: Sequence[Level]) -> None:
        super().__init__()
        self.taps = [level.tap for level in levels]
        self.strides, self.channels = [level.stride for level in levels], [level.channels for level in levels]
        last = [name for name, _ in network.named_children()].index(self.taps[-1])
        self.network = network[: last + 1]

    def forward(self, images: RGB) -> tuple[Tensor, ...]:
        taken = []
        for name, stage in self.network.named_children():
            images = stage(images)
            if name in self.taps:
                taken.append(images)
        return tuple(taken)


class Backbone(nn.Module):
    """Images in [0, 1] to features at chosen strides, by weights of models/backbones that no training changes.

    It is always in evaluation mode and, unless its end is loosened, has no parameters: its weights are buffers that a
    checkpoint does not hold. That keeps their SHA-256, with what they are `padded` for, and refuses to be read beside
    others. Without storage (on the meta device) no weights are read.
    """

    mean: Float[Tensor, "3 1 1"]
    std: Float[Tensor, "3 1 1"]

    def __init__(self, name: str, strides: Sequence[int], weights: str = "") -> None:
        """`weights` is a file in place of the recorded ones. UserError for an unknown name or stride, and as of
        `read_weights`."""
        super().__init__()
        record, self.name = read_backbone(name), name
        for key, values in (("mean", record.mean), ("std", record.std)):
            self.register_buffer(key, torch.tensor(values)[:, None, None], persistent=False)
        absent, chosen = self.mean.is_meta, _levels(record, name, strides)
        with torch.device("meta"):
            whole: nn.Sequential = NETWORKS[record.network](**record.options)
        self.levels = Levels(whole, chosen)
        self.strides, self.channels = self.levels.strides, self.levels.channels
        tensors: Mapping[str, Tensor] = self.levels.network.state_dict()
        self.digest = ""
        if not absent:
            needed = tensors.keys()
            tensors, self.digest = read_weights(name, weights)
            _check_fits(name, whole.state_dict(), needed, tensors, weights)
            if zeros := record.options.get("padded"):
                # Features that were looked at with other zeros are others.
                self.digest = sha256(f"{self.digest} {zeros}".encode()).hexdigest()
        freeze(self.levels.network, tensors)
        self.train(False)

    def forward(self, images: RGB) -> tuple[Tensor, ...]:
        """Features (b, c, h / stride, w / stride), a tensor a stride, the finest first. Where a side is no multiple of
        a stride they are rounded up, but for a network whose zeros are `padded` for another size."""
        return self.levels((images - self.mean) / self.std)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> "Backbone":  # noqa: ARG002
        """It stays in evaluation mode, whatever the detector around it is in."""
        return super().train(False)

    def loosen(self) -> None:
        """Make parameters, which a checkpoint holds, of the weights behind the last stride but one."""
        stages = dict(self.levels.network.named_children())
        start = [*stages].index(self.levels.taps[-2]) + 1 if len(self.levels.taps) > 1 else 0
        for stage in [*stages.values()][start:]:
            for part in stage.modules():
                for leaf, value in [*part.named_buffers(recurse=False)]:
                    delattr(part, leaf)
                    setattr(part, leaf, nn.Parameter(value.clone()))

    def get_extra_state(self) -> UInt8[Tensor, "32"]:
        """The SHA-256 of its weights, and of what they are `padded` for, which a checkpoint holds in their place."""
        return torch.tensor(list(bytes.fromhex(self.digest or "00" * 32)), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: UInt8[Tensor, "32"]) -> None:
        """UserError where a checkpoint was made on features of other weights."""
        asked = bytes(state.flatten().tolist()).hex()
        if self.digest and asked != self.digest:
            zeros = read_backbone(self.name).options.get("padded")
            padded = f", or with other zeros around its layers than those of {zeros} pixels" if zeros else ""
            raise UserError(
                f"the detector was fitted on features of other weights of {self.name} (sha256 {asked[:12]}) than these "
                f"({self.digest[:12]}){padded}; name that weights file, or train it again"
            )


def untrained(name: str, strides: Sequence[int]) -> Levels:
    """The network of a backbone with weights that torch's generator draws: a student, to be trained. UserError for an
    unknown name or stride."""
    record = read_backbone(name)
    chosen = _levels(record, name, strides)
    return Levels(NETWORKS[record.network](**record.options), chosen)


def _levels(record: BackboneRecord, name: str, strides: Sequence[int]) -> list[Level]:
    known = [level.stride for level in record.levels]
    if not strides or set(strides) - set(known):
        raise UserError(
            f"expected strides of {name}, {', '.join(map(str, known))}, got {list(strides)}; choose of them"
        )
    return [level for level in record.levels if level.stride in strides]


def _check_fits(
    name: str, whole: Mapping[str, Tensor], needed: Collection[str], tensors: Mapping[str, Tensor], weights: str
) -> None:
    """UserError where a weight is not there that is needed, or one is that the whole network has not: a deeper one of
    the same family holds all that a shallower one needs."""
    # How many batches a norm's statistics were taken from decides nothing.
    shapes = {key: tuple(value.shape) for key, value in whole.items() if "num_batches_tracked" not in key}
    for key in [*shapes, *sorted(tensors.keys() - shapes.keys())]:
        expected, got = shapes.get(key), tuple(tensors[key].shape) if key in tensors else None
        if expected != got and (got is not None or key in needed):
            raise UserError(
                f"{weights or 'a package'} holds the weights of another network than {name}: expected "
                f"{expected or 'nothing'} for {key}, got {got or 'nothing'}; name the file of that network"
            )
