"""How small a change may be that takes an image somewhere: a search over radii, of many images beside each other."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

FLOOR = 2.0**-9
"""Of eps: the lower end at first, and as far down as one gradient is followed before the other is asked."""
DOUBT = 0.8
"""Of the smallest radius that crossed, where the other gradient is asked whether it takes less."""
DOWN = 2.0**-4
"""Of that radius, what is taken for the lower end along the other gradient, and again if that is too much."""
LESS, LONGER = 4, 2
"""What part of a change that took steps to cross is tried next, and for how many times as many."""


class Radii:
    """Of each image the radius that is tried `now`, between the largest at which nothing crossed, `below`, and the
    smallest at which it did, `above`, in pixel units.

    An image first has the whole eps, for two fifths of the steps at the most along one gradient, and for as many from
    the beginning along the other; the one that takes it across leads. Until a radius has failed, one `LESS` times
    smaller comes next where the last one took more than a step to cross, for `LONGER` times as many, if half of these
    are left: what is long in coming is so at a smaller size, too. Any other is the geometric mean of both ends. One
    step across makes it the upper end; `patience` steps without, the lower one. Where the upper end is within a factor
    `within` of the lower, the other gradient is asked at `DOUBT` of it. Where that crosses, it leads, with `DOWN` of
    the upper end for the lower, for what was too small along the one may do along the other, and with less where even
    that is not known to be too small; and then the first is asked in its turn. The search is over where neither takes
    less.
    """

    def __init__(self, eps: float, steps: int, within: float, patience: int, leading: Bool[Tensor, " b"]) -> None:
        self.eps, self.within, self.least = eps, within, patience
        self.most = max(1, min(2 * steps // 5, steps // 2 - 1))
        """Steps at a radius, at the most."""
        self.leading = leading.clone()
        """Which of both gradients an image goes along."""
        like = torch.zeros_like(leading, dtype=torch.float32)
        self.now, self.above = like + eps, like + math.inf
        self.below = like + eps * FLOOR
        self.tries, self.patience = like.clone(), like + self.most
        """Steps that an image has had at its radius, and how many it may have."""
        self.active = torch.ones_like(leading)
        self._asked, self._turned_about, self._guessed = (torch.zeros_like(leading) for _ in range(3))

    def take(
        self, rows: Int64[Tensor, " n"], crossed: Bool[Tensor, " n"], sizes: Float[Tensor, " n"], left: int
    ) -> tuple[Int64[Tensor, " a"], Int64[Tensor, " t"]]:
        """Those of the images `rows` that are to begin anew along the other gradient, and those that go on at another
        radius, given which of them crossed by changes of what `sizes`, with `left` steps to go."""
        over = ~crossed & (self.tries[rows] >= self.patience[rows])
        turns = over & torch.isinf(self.above[rows]) & ~self._turned_about[rows]
        anew, won, lost = rows[turns], rows[crossed], rows[over & ~turns]
        self.leading[anew], self._turned_about[anew], self.tries[anew] = ~self.leading[anew], True, 0
        self.above[won] = torch.minimum(self.now[won], sizes[crossed])
        self.below[lost] = torch.where(self._asked[lost], self.above[lost], self.now[lost])
        self._asked[won], self._guessed[lost] = False, False
        settled = torch.cat([won, lost])
        close = settled[(self._is_close() & ~self._asked)[settled]]
        self.below[close] = self.above[close] * DOWN
        doubted = close[~self._guessed[close]]
        self.leading[doubted], self._asked[doubted], self._guessed[doubted] = ~self.leading[doubted], True, True
        self.active &= ~self._is_close() & ~(torch.isinf(self.above) & (self.below >= self.eps))
        settled = settled[self.active[settled]]
        self._try_next(settled, left)
        return anew, settled

    def _is_close(self) -> Bool[Tensor, " b"]:
        return self.above <= self.within * self.below

    def _try_next(self, rows: Int64[Tensor, " n"], left: int) -> None:
        above, below, asked = self.above[rows], self.below[rows], self._asked[rows]
        longer = (LONGER * self.tries[rows]).clamp_max(self.most)
        slow = (self.tries[rows] > 1) & (below == self.eps * FLOOR) & (longer < 2 * left)
        radius = torch.where(slow, above / LESS, (below * above).sqrt())
        self.now[rows] = torch.where(asked, above * DOUBT, radius)
        self.tries[rows], self.patience[rows] = 0, torch.where(slow, longer, 0).clamp_min(self.least)
