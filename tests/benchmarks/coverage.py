"""How often the intervals over folds hold the truth: ``python -m tests.benchmarks.coverage``.

A data set is drawn 500 times, and a model is cross-validated on it. The truth is the mean accuracy
of models that are trained on as many samples as all folds but one have, over many other data sets.
Beside it: how often two equal algorithms are said to differ. It takes half an hour on one core.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from base.tools.statistics import Estimate, compare_paired, estimate_mean

Array = NDArray[Any]
FOLDS = (5, 10)
TRUTH_SETS = 1000  # training sets for the truth
TRUTH_SAMPLES = 1000  # to test each of its models
REPEATED = 3  # cross-validations with other folds
MODELS: dict[str, Callable[[], Any]] = {
    "linear discriminant": LinearDiscriminantAnalysis,
    "logistic regression": lambda: LogisticRegression(C=1.0),
    "naive Bayes": GaussianNB,
    "3 neighbours": lambda: KNeighborsClassifier(3),
    "decision tree": lambda: DecisionTreeClassifier(random_state=0),
}


class Problem(NamedTuple):
    """Two normal classes whose means differ in the first 5 of ``num_features`` dimensions."""

    num_samples: int
    num_features: int

    def draw(self, rng: np.random.Generator, num_samples: int) -> tuple[Array, Array]:
        """Draws inputs and classes; as many of each class."""
        target = np.arange(num_samples) % 2
        inputs = rng.standard_normal((num_samples, self.num_features))
        inputs[:, :5] += np.where(target[:, None] == 1, 0.35, -0.35)
        return inputs, target


PROBLEMS = (Problem(40, 20), Problem(100, 20), Problem(400, 20))


def get_truth(problem: Problem, model: Any, folds: int, rng: np.random.Generator) -> float:
    """The mean accuracy of models that are trained on all folds but one."""
    num_train = problem.num_samples * (folds - 1) // folds
    scores = []
    for _ in range(TRUTH_SETS):
        model.fit(*problem.draw(rng, num_train))
        scores.append(model.score(*problem.draw(rng, TRUTH_SAMPLES)))
    return float(np.mean(scores))


def cross_validate(model: Any, data: tuple[Array, Array], folds: int, seed: int) -> list[float]:
    """The accuracy on each fold."""
    inputs, target = data
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [
        float(model.fit(inputs[train], target[train]).score(inputs[test], target[test]))
        for train, test in splitter.split(inputs, target)
    ]


def count_hits(estimates: Sequence[Estimate], truth: float) -> str:
    hits = np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])
    return f"{hits:>9.1%}"


def measure_coverage(problem: Problem, name: str, folds: int, repeats: int) -> str:
    """Returns a line: the coverage of the naive, the corrected and the repeated interval."""
    rng = np.random.default_rng([problem.num_samples, folds])
    model, overlap = MODELS[name](), 1 / (folds - 1)
    truth = get_truth(problem, model, folds, rng)
    naive, corrected, repeated, means, deviations = [], [], [], [], []
    for _ in range(repeats):
        data = problem.draw(rng, problem.num_samples)
        scores = [cross_validate(model, data, folds, seed) for seed in range(REPEATED)]
        naive.append(estimate_mean(scores[0]))
        corrected.append(estimate_mean(scores[0], overlap))
        repeated.append(estimate_mean([x for values in scores for x in values], overlap))
        means.append(np.mean(scores[0]))
        deviations.append(np.var(scores[0], ddof=1))
    # The factor of the mean variance of the folds that gives the variance of their mean.
    factor = float(np.var(means, ddof=1) / np.mean(deviations))
    columns = [count_hits(found, truth) for found in (naive, corrected, repeated)]
    factors = f"{factor:>8.3f} {1 / folds:>8.3f} {1 / folds + overlap:>8.3f}"
    return f"{problem.num_samples:>4} {name:20} {folds:>5} {truth:>7.3f} " + " ".join(
        [*columns, factors]
    )


def measure_false_alarms(problem: Problem, folds: int, repeats: int) -> str:
    """Returns a line: how often two equal algorithms are said to differ, by folds and by seeds.

    The algorithms are decision trees that see different halves of the features. Both halves have
    the same distribution, so that neither is better.
    """
    rng = np.random.default_rng([7, problem.num_samples, folds])
    model, alarms, naive_alarms = DecisionTreeClassifier(random_state=0), 0, 0
    for _ in range(repeats):
        first, target = problem.draw(rng, problem.num_samples)
        second, _ = problem.draw(rng, problem.num_samples)
        scores = [
            cross_validate(model, (inputs, target), folds, seed=0) for inputs in (first, second)
        ]
        differences = [a - b for a, b in zip(*scores, strict=True)]
        alarms += compare_paired(differences, 1 / (folds - 1)).is_decided
        naive = estimate_mean(differences)
        naive_alarms += naive.low > 0 or naive.high < 0
    rates = f"{alarms / repeats:>9.1%} {naive_alarms / repeats:>9.1%}"
    return f"{problem.num_samples:>4} {'decision trees':20} {folds:>5} {rates}"


def measure_false_alarms_of_seeds(num_seeds: int, repeats: int) -> str:
    """Returns a line: the same for independent differences.

    Those of two equal algorithms are as often positive as negative, so that all are symmetric.
    """
    rng = np.random.default_rng([11, num_seeds])
    alarms = {"normal": 0, "uniform": 0, "Laplace": 0}
    for _ in range(repeats):
        samples = {
            "normal": rng.standard_normal(num_seeds),
            "uniform": rng.uniform(-1, 1, num_seeds),
            "Laplace": rng.laplace(size=num_seeds),
        }
        for name, differences in samples.items():
            alarms[name] += compare_paired(list(differences)).is_decided
    found = ", ".join(f"{name} {count / repeats:.1%}" for name, count in alarms.items())
    return f"{num_seeds:>4} seeds: {found}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--samples", type=int, nargs="+", help="the sizes of the data sets")
    args = parser.parse_args()
    repeats = args.repeats
    problems = [Problem(size, 20) for size in args.samples] if args.samples else PROBLEMS
    warnings.simplefilter("ignore")  # of models that are trained on few samples
    error = math.sqrt(0.95 * 0.05 / repeats)
    print(f"{repeats} data sets each; 95 % have a standard error of {error:.1%}\n")
    print("   n model                folds   truth     naive corrected  repeated", end="")
    print("   factor      1/k  corrected")
    for problem in problems:
        for name in MODELS:
            for folds in FOLDS:
                print(measure_coverage(problem, name, folds, repeats), flush=True)
    print("\nEqual algorithms that are said to differ\n")
    print("   n model                folds       ours   naive t")
    for problem in problems:
        for folds in FOLDS:
            print(measure_false_alarms(problem, folds, repeats), flush=True)
    for num_seeds in (3, 5, 6, 8, 12):
        print(measure_false_alarms_of_seeds(num_seeds, 4 * repeats), flush=True)


if __name__ == "__main__":
    main()
