"""Robustness benchmark for unsupervised industrial anomaly localisation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omnial_bench.adapting import adapt_module as adapt_module
    from omnial_bench.benchmarking import benchmark as benchmark
    from omnial_bench.benchmarking import compare as compare
    from omnial_bench.checkpoint import load_detector as load_detector
    from omnial_bench.errors import UserError as UserError
    from omnial_bench.keeping import save_adapted as save_adapted
    from omnial_bench.models.exported import from_onnx as from_onnx
    from omnial_bench.models.from_anomalib import from_anomalib as from_anomalib
    from omnial_bench.nouns import Detector as Detector
    from omnial_bench.nouns import Prediction as Prediction
    from omnial_bench.nouns import ThreatModel as ThreatModel

_HOMES = {
    "Detector": "nouns",
    "Prediction": "nouns",
    "ThreatModel": "nouns",
    "UserError": "errors",
    "adapt_module": "adapting",
    "benchmark": "benchmarking",
    "compare": "benchmarking",
    "from_anomalib": "models.from_anomalib",
    "from_onnx": "models.exported",
    "load_detector": "checkpoint",
    "save_adapted": "keeping",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # Imported when asked for: reading a report or a help text must not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
