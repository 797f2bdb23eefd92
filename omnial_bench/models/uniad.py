"""UniAD (You et al., NeurIPS 2022): a transformer that gives frozen features back without ever seeing the place that
it gives, and so cannot copy anomalies. Made for one model of all categories."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.errors import UserError
from omnial_bench.models.backbone import Backbone
from omnial_bench.models.learned import Features, Learned, Terms
from omnial_bench.models.levels import joined, resized, roots
from omnial_bench.models.networks import draw
from omnial_bench.models.options.features import UniADOptions as Options
from omnial_bench.types import RGB, Prediction

DECAY = 1e-4

Tokens = Float[Tensor, "b t d"]
Noise = torch.Generator | None
"""Where dropout draws from; None, as outside of the fit, for none."""


class UniAD(Learned):
    """The map is the length of the difference between features and what the transformer makes of them, at the coarsest
    level's places; the image score is the highest mean of it in a square.

    Positions and queries have the size of the grid, which the fit decides.
    """

    clip = 0.1

    unit: Float[Tensor, ""]
    """Root mean square of the features of normals, by which all are divided: the transformer starts at values about 1,
    and backbones have features of any scale."""
    rows: Float[Tensor, "h d"]
    columns: Float[Tensor, "w d"]
    queries: Float[Tensor, "k t d"]

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = Backbone(options.backbone, options.strides, options.weights)
        inputs, width = sum(self.backbone.channels), options.width
        self.inner, self.outer = nn.Linear(inputs, width), nn.Linear(width, inputs)
        self.encoder = nn.ModuleList(Layer(options, 1) for _ in range(options.layers))
        self.decoder = nn.ModuleList(Layer(options, 2) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("unit", torch.ones(()))
        for name in ("rows", "columns", "queries"):
            self.register_parameter(name, None)
        draw(self, "xavier")

    def fit(self, normals: Iterable[RGB], generator: torch.Generator) -> None:
        """UserError for a grid of which a place sees nothing."""
        (features,) = self.frozen(next(iter(normals)))
        self.unit = features.square().mean().sqrt()
        height, width = features.shape[2:]
        side = self.options.neighbourhood
        if max(height, width) <= side:
            raise UserError(
                f"expected a grid of more than {side} places, for each sees none within {side // 2} of it, got "
                f"{height}x{width}; take larger images, or a smaller neighbourhood"
            )
        self.lay_out(height, width, generator)
        super().fit(normals, generator)

    def lay_out(self, height: int, width: int, generator: torch.Generator) -> None:
        """Draw what is learnt of each place of a grid: its row, its column, and each decoder layer's query there."""
        device, half = self.norm.weight.device, self.options.width // 2
        queries = (self.options.layers, height * width, self.options.width)
        shapes = {"rows": (height, half), "columns": (width, half), "queries": queries}
        for name, shape in shapes.items():
            law = torch.randn if name == "queries" else torch.rand
            values = law(shape, generator=generator, dtype=torch.float64)
            setattr(self, name, nn.Parameter(values.float().to(device)))

    def optimizers(self, lr: float) -> Sequence[torch.optim.Optimizer]:
        return [torch.optim.AdamW(self.parameters(), lr, weight_decay=DECAY)]

    def frozen(self, images: RGB) -> Features:
        levels = self.backbone(images)
        return (joined(levels, levels[-1].shape[2:], corners=True) / self.unit,)

    def loss(self, images: RGB, frozen: Features, generator: torch.Generator) -> Terms:  # noqa: ARG002
        return {"mse": F.mse_loss(self._given_back(frozen[0], generator), frozen[0])}

    def forward(self, images: RGB) -> Prediction:
        (features,) = self.frozen(images)
        squares = (features - self._given_back(features, None)).square().sum(1, keepdim=True)
        maps = resized(roots(squares), images.shape[2:], corners=True)
        side = images.shape[2] // features.shape[2]
        return self.prediction(images, maps, F.avg_pool2d(maps, side, stride=1).flatten(1).amax(1))

    def _given_back(self, features: Float[Tensor, "b c h w"], noise: Noise) -> Float[Tensor, "b c h w"]:
        height, width = features.shape[2:]
        tokens = features.flatten(2).transpose(1, 2)
        if noise is not None:
            # N(0, jitter |token| / c) on each value (section 3.4).
            lengths = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True) / tokens.shape[-1]
            values = torch.randn(tokens.shape, generator=noise)
            tokens = torch.addcmul(tokens, lengths, values.to(tokens), value=self.options.jitter)
        columns, rows = self.columns[None].expand(height, -1, -1), self.rows[:, None].expand(-1, width, -1)
        places = torch.cat((columns, rows), 2).flatten(0, 1)
        seen = apart(height, width, self.options.neighbourhood // 2).to(features.device)
        barrier = torch.zeros_like(seen, dtype=features.dtype).masked_fill(~seen, -torch.inf)
        memory = self.inner(tokens)
        for layer in self.encoder:
            memory = layer(memory, (memory,), places, barrier, noise)
        values = memory
        for layer, query in zip(self.decoder, self.queries, strict=True):
            values = layer(query.expand(len(tokens), -1, -1), (memory, values), places, barrier, noise)
        back: Tensor = self.outer(self.norm(values))
        return back.transpose(1, 2).reshape(features.shape)


def apart(height: int, width: int, reach: int) -> Bool[Tensor, "t t"]:
    """Which places of a grid see each other: those more than `reach` rows or columns apart."""
    rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    return ((rows[:, None] - rows).abs() > reach) | ((columns[:, None] - columns).abs() > reach)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017) with biases; `barrier` is 0 where a place may be seen
    and minus infinity elsewhere."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tokens, key: Tokens, value: Tokens, barrier: Float[Tensor, "t t"], noise: Noise) -> Tokens:
        queries, keys, values = (
            part(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part, tokens in ((self.query, query), (self.key, key), (self.value, value))
        )
        likeness = (queries / queries.shape[-1] ** 0.5) @ keys.transpose(2, 3)
        shares = (likeness + barrier).softmax(3)
        mixed = dropped(shares, self.dropout, noise) @ values
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attentions, then a network of two layers, each added and normed: of the encoder one to the tokens themselves, of
    the decoder, which asks by a query that was learnt, one to the encoder's memory and one to what the layer before
    made."""

    def __init__(self, options: Options, attentions: int) -> None:
        super().__init__()
        width, self.dropout = options.width, options.dropout
        self.attentions = nn.ModuleList(Attention(width, options.heads, options.dropout) for _ in range(attentions))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(attentions + 1))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, tokens: Tokens, sources: Sequence[Tokens], places: Tensor, barrier: Tensor, noise: Noise
    ) -> Tokens:
        for place, source in enumerate(sources):
            query = tokens + places
            key = query if source is tokens else source + places
            change = self.attentions[place](query, key, source, barrier, noise)
            tokens = self._added(place, tokens, change, noise)
        hidden = dropped(torch.relu(self.wide(tokens)), self.dropout, noise)
        return self._added(-1, tokens, self.narrow(hidden), noise)

    def _added(self, place: int, tokens: Tokens, change: Tokens, noise: Noise) -> Tokens:
        return self.norms[place](tokens + dropped(change, self.dropout, noise))  # type: ignore[no-any-return]


def dropped(values: Tensor, share: float, noise: Noise) -> Tensor:
    """Dropout that draws from a generator on the CPU; nothing without one."""
    if noise is None or not share:
        return values
    mask = torch.rand(values.shape, generator=noise).ge_(share).div_(1 - share)
    return values * mask.to(values)
