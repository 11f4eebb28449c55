"""Proposals: the values of the next trial of a search, as a function of the trials before."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from base.groups.plan.engine import RANDOM, SLOTS, TPE
from base.groups.plan.space import Choices, Entry, Range, Space, label
from config.check.slots import resolve
from utils.errors import UserError, name_error
from utils.seed import mix_seed

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

SHORT_NAMES = {RANDOM: "RandomSampler", TPE: "TPESampler"}
STATE, DECISION = "sampler_state", "pruner_decision"  # attributes of a trial


class Parameters:
    """Translates between the values of a config and the parameters that Optuna knows.

    Args:
        space: what each key may be.
        points: those of a grid; None if a sampler chooses.

    Attributes:
        distributions: Optuna's, by key.

    Raises:
        UserError: Optuna refuses a range.
    """

    def __init__(self, space: Space, points: Sequence[Mapping[str, Any]] | None = None) -> None:
        self.space = space
        self._labels = {
            key: _make_labels(entry.values)
            for key, entry in space.items()
            if isinstance(entry, Choices)
        }
        self.distributions: dict[str, BaseDistribution] = {}
        for key, entry in space.items():
            try:
                self.distributions[key] = self._make_distribution(key, entry, points)
            except ValueError as error:
                raise UserError(str(error), key=f"search.space.{key}") from None

    def _make_distribution(
        self, key: str, entry: Entry, points: Sequence[Mapping[str, Any]] | None
    ) -> BaseDistribution:
        from optuna import distributions

        if isinstance(entry, Choices):
            return distributions.CategoricalDistribution(list(self._labels[key].values()))
        low, high, step = entry.low, entry.high, entry.step
        if points is not None:  # Optuna would move an end that no number of steps reaches
            values = [point[key] for point in points]
            low, high, step = min(values), max(values), None
        if entry.is_integer:
            unit = 1 if step is None else int(step)
            return distributions.IntDistribution(int(low), int(high), entry.log, unit)
        return distributions.FloatDistribution(low, high, entry.log, step)

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns Optuna's parameters for the values of a config."""
        return {
            key: self._labels[key][to_text(value)] if key in self._labels else value
            for key, value in values.items()
        }

    def decode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the values of a config for Optuna's parameters, in the order of the space."""
        values: dict[str, Any] = {}
        for key in self.space:
            if key not in params:
                continue
            values[key] = params[key]
            for text, name in self._labels.get(key, {}).items():
                if name == params[key]:
                    values[key] = json.loads(text)
        return values

    def propose_point(
        self, points: Sequence[Mapping[str, Any]], made: Sequence[FrozenTrial]
    ) -> FrozenTrial:
        """Returns a trial of the first point that ``made`` has not: point n for trial n."""
        from optuna.trial import TrialState, create_trial

        taken = {to_text(trial.params) for trial in made}
        params = next(p for p in map(self.encode, points) if to_text(p) not in taken)
        return create_trial(
            state=TrialState.RUNNING, params=params, distributions=self.distributions
        )

    def round_steps(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the parameters with 0.3 in place of 0.1 + 2 · 0.1 = 0.30000000000000004."""
        rounded = dict(params)
        for key, entry in self.space.items():
            if isinstance(entry, Range) and entry.step is not None and not entry.is_integer:
                num_steps = round((params[key] - entry.low) / entry.step)
                exact = Decimal(str(entry.low)) + num_steps * Decimal(str(entry.step))
                rounded[key] = float(exact)
        return rounded


def to_text(value: Any) -> str:
    """Returns the JSON text of a value, which tells 1, 1.0 and true apart."""
    return json.dumps(value, sort_keys=True)


def _make_labels(values: Sequence[Any]) -> dict[str, Any]:
    """Returns a label for the JSON text of each value. No two are equal, as 1 and True are."""
    labels: dict[str, Any] = {}
    for value in values:
        text = to_text(value)
        if text in labels:
            continue
        found = label(value)
        if isinstance(found, float) and not math.isfinite(found):
            found = text
        taken, count = set(labels.values()), 2
        if found in taken:
            found = text
        while found in taken:
            found = f"{text} ({count})"
            count += 1
        labels[text] = found
    return labels


def make_component(kind: str, node: Any, seed: int, number: int) -> Any:
    """Makes the sampler or the pruner that ``search`` names, and those inside of its ``args``.

    Args:
        kind: ``sampler`` or ``pruner``.
        node: its name, or ``{type, args}``.
        seed: of the search; an ``args.seed`` replaces it.
        number: of the trial to propose. A sampler gets a seed for this trial.

    Raises:
        UserError: there is no such class, or it refuses its arguments.
    """
    node = {"type": SHORT_NAMES.get(node, node)} if isinstance(node, str) else node
    key = f"search.{kind}"
    try:
        found = resolve(node["type"], SLOTS[kind])
    except UserError as error:
        raise UserError(str(error), key=f"{key}.type") from None
    name = found.__name__
    if name == "CmaEsSampler" and importlib.util.find_spec("cmaes") is None:
        message = "CmaEsSampler needs cmaes; 'pip install cmaes' installs it"
        raise UserError(message, key=f"{key}.type")
    args = dict(node.get("args") or {})
    for word, value in args.items():
        if isinstance(value, dict) and "type" in value:
            args[word] = make_component(kind, value, seed, number)
    if kind == "sampler" and "seed" in inspect.signature(found).parameters:
        chosen = seed if args.get("seed") is None else int(args["seed"])
        args["seed"] = mix_seed(chosen, number) % 2**32
        if name == "QMCSampler":  # all its trials are on one sequence
            import optuna

            args.setdefault("independent_sampler", optuna.samplers.RandomSampler(args["seed"]))
            args["seed"] = mix_seed(chosen) % 2**32
    try:
        return found(**args)
    except Exception as error:
        raise UserError(f"{name}: {name_error(error)}", key=f"{key}.args") from None


class Scratch:
    """A study in memory that holds copies of trials under the same numbers.

    Samplers and pruners work on it. So a kill never leaves only a part of their notes in the
    storage.

    Args:
        study: whose name and direction it has.
        trials: all of them, by number.
    """

    def __init__(
        self, study: optuna.Study, trials: Sequence[FrozenTrial], sampler: Any, pruner: Any
    ) -> None:
        import optuna

        self.storage = optuna.storages.InMemoryStorage()
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=study.study_name,  # Hyperband divides the trials by it
            direction=study.direction,
            sampler=sampler,
            pruner=pruner,
        )
        self.id = self.storage.get_study_id_from_name(study.study_name)
        for trial in trials:
            self.study.add_trial(_copy_trial(trial))
            for key, value in trial.user_attrs.get(STATE, {}).items():
                self.storage.set_study_system_attr(self.id, key, value)

    def propose(self, parameters: Parameters) -> FrozenTrial:
        """Returns the next trial, which is not in the storage yet.

        Raises:
            UserError: the sampler fails.
        """
        from optuna.trial import TrialState, create_trial

        before = self.storage.get_study_system_attrs(self.id)
        try:
            asked = self.study.ask(parameters.distributions)
        except Exception as error:
            message = f"{type(self.study.sampler).__name__}: {name_error(error)}"
            raise UserError(message, key="search.sampler") from None
        after = self.storage.get_study_system_attrs(self.id)
        changed = {key: after[key] for key in after if before.get(key) != after[key]}
        return create_trial(
            state=TrialState.RUNNING,
            params=parameters.round_steps(asked.params),
            distributions=parameters.distributions,
            user_attrs={STATE: changed} if changed else {},
            system_attrs=self._get_trial(asked.number).system_attrs,
        )

    def decide(self, number: int) -> dict[str, Any]:
        """Asks the pruner whether a trial stops.

        Returns:
            The decision, to be kept as an attribute of the trial: its ``step``, whether the trial
            ``stops``, and all ``notes`` that pruners have made about this trial.
        """
        trial = self._get_trial(number)
        before = dict(trial.system_attrs)
        stops = self.study.pruner.prune(self.study, trial)
        after = self._get_trial(number).system_attrs
        added = {key: after[key] for key in after if before.get(key) != after[key]}
        return {"step": trial.last_step, "stops": bool(stops), "notes": _get_notes(trial) | added}

    def _get_trial(self, number: int) -> FrozenTrial:
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(self.id, number)
        return self.storage.get_trial(trial_id)


def _copy_trial(trial: FrozenTrial) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    if trial.state == TrialState.WAITING:  # another program has added it
        return create_trial(state=TrialState.FAIL)
    copied = copy.copy(trial)
    copied.system_attrs = trial.system_attrs | _get_notes(trial)
    return copied


def _get_notes(trial: FrozenTrial) -> dict[str, Any]:
    """Returns what pruners have noted about a trial."""
    decision: dict[str, Any] = trial.user_attrs.get(DECISION, {})
    return decision.get("notes", {})  # type: ignore[no-any-return]
