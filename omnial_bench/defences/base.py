"""The base of defences: a Detector around another, which knows nothing of it."""

from omnial_bench.types import Detector


class Defence(Detector):
    """A detector with something before, behind or around it; what it takes beside `detector` are keywords.

    It is scored and attacked as a whole: where its forward draws at random, the same images are to have the same
    prediction whatever batch they come in, and where it cuts a gradient, the attack does not see what it defends.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
