"""How many steps a training takes, and the rate of each."""

import math

from omnial_bench.config.schema import Training


def iterations_of(training: Training, normals: int) -> int:
    """Optimiser steps in the budget: epochs over the normals, at most `max_iterations`."""
    steps = max(1, math.ceil(training.epochs * normals / training.batch))
    return steps if training.max_iterations is None else min(steps, training.max_iterations)


def learning_rate(training: Training, step: int, steps: int) -> float:
    """The rate at a step: times `gamma` at each milestone of the budget."""
    passed = sum(step >= milestone * steps for milestone in training.milestones)
    return training.lr * training.gamma**passed
