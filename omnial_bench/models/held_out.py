"""What a detector says of normal images that were held out: image scores, which a decision threshold is set from."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from omnial_bench.data.images import to_float
from omnial_bench.trust import guarded
from omnial_bench.types import Detector

MOST = 100
"""Images of a category: of more the threshold at 5 % would be little steadier."""
BATCH = 16


@torch.no_grad()
def normal_scores(
    detector: Detector,
    images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"],
    categories: Sequence[str],
    device: torch.device | str,
) -> dict[str, tuple[float, ...]]:
    """Image scores by category, the lowest first, of at most `MOST` images of each, by a detector that lies on `device`
    in eval mode; `categories` are those of the images. UserError where one from elsewhere fails."""
    places = {name: [at for at, own in enumerate(categories) if own == name][:MOST] for name in sorted(set(categories))}
    scores: dict[str, tuple[float, ...]] = {}
    for name, chosen in places.items():
        parts = torch.split(images[chosen], BATCH)
        floats = (part.to(device) if part.is_floating_point() else to_float(part, device) for part in parts)
        with guarded(detector, "localise anomalies"):
            batches = [detector(part.contiguous(memory_format=torch.channels_last)).image_score for part in floats]
        scores[name] = tuple(torch.cat(batches).sort().values.tolist())
    return scores
