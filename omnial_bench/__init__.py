"""Robustness benchmark for unsupervised industrial anomaly localisation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omnial_bench.attacks.outside import Attack as Attack
    from omnial_bench.attacks.outside import Attacked as Attacked
    from omnial_bench.attacks.specs import Spec as Spec
    from omnial_bench.data.readers.base import Reader as Reader
    from omnial_bench.data.readers.base import Sample as Sample
    from omnial_bench.defences.base import Defence as Defence
    from omnial_bench.errors import UserError as UserError
    from omnial_bench.evaluation.target import load_detector as load_detector
    from omnial_bench.metrics.accumulator import Accumulator as Accumulator
    from omnial_bench.metrics.metric import Metric as Metric
    from omnial_bench.models.fitted import Fitted as Fitted
    from omnial_bench.models.outside.exported import from_onnx as from_onnx
    from omnial_bench.models.outside.from_anomalib import from_anomalib as from_anomalib
    from omnial_bench.pipeline.benchmark import benchmark as benchmark
    from omnial_bench.pipeline.benchmark import compare as compare
    from omnial_bench.pipeline.own_detector import adapt_module as adapt_module
    from omnial_bench.pipeline.save_detector import save_adapted as save_adapted
    from omnial_bench.types import Detector as Detector
    from omnial_bench.types import GradientTrained as GradientTrained
    from omnial_bench.types import Prediction as Prediction
    from omnial_bench.types import Synthetic as Synthetic
    from omnial_bench.types import ThreatModel as ThreatModel

_HOMES = {
    "Accumulator": "metrics.accumulator",
    "Attack": "attacks.outside",
    "Attacked": "attacks.outside",
    "Defence": "defences.base",
    "Detector": "types",
    "Fitted": "models.fitted",
    "GradientTrained": "types",
    "Metric": "metrics.metric",
    "Prediction": "types",
    "Spec": "attacks.specs",
    "Reader": "data.readers.base",
    "Sample": "data.readers.base",
    "Synthetic": "types",
    "ThreatModel": "types",
    "UserError": "errors",
    "adapt_module": "pipeline.own_detector",
    "benchmark": "pipeline.benchmark",
    "compare": "pipeline.benchmark",
    "from_anomalib": "models.outside.from_anomalib",
    "from_onnx": "models.outside.exported",
    "load_detector": "evaluation.target",
    "save_adapted": "pipeline.save_detector",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # Imported when asked for: reading a report or a help text must not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
