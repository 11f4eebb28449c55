"""Study: the trials of a search in their storage. Only this file and its helpers ask Optuna."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.groups.options import SearchOptions
from base.groups.proposal import DECISION, Parameters, Scratch, Space, make_component
from base.groups.records import FAILED, FINISHED, PRUNED, RUNNING, TrialRecord
from base.groups.space import Choices, list_points
from base.groups.storage import KEY, get_url, import_optuna, make_error, open_storage, quiet
from base.tools.run_record import Objective
from utils.errors import UserError, shorten
from utils.files import lock_file

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

FACTS = "search"  # the attribute of the study that holds what must not change
MESSAGE = "message"
MAX_MESSAGE_CHARS = 1000
MIN_TRIALS_FOR_IMPORTANCES = 4


class Study:
    """The trials of one search.

    Several processes, also on several machines, may work on one search at the same time. A kill at
    any moment leaves each trial either out of the storage or complete in it.

    Args:
        name: ``NAME/ID``, the name in the storage.
        storage_url: a URL that Optuna takes; None for ``storage.db`` in ``folder``.
        folder: of the group.
        options: the section ``search``.
        space: what each key may be.
        objective: the monitored number.
        seed: the config's seed. Trial ``n`` is a function of it and of the trials before.

    Attributes:
        num_trials: the number of trials that the search makes.
        url: of the storage, for ``optuna-dashboard``.

    Raises:
        UserError: Optuna is missing, the storage cannot be used or holds another search under the
            name, or a sampler or pruner does not fit.
    """

    def __init__(
        self,
        name: str,
        storage_url: str | None,
        folder: Path,
        options: SearchOptions,
        space: Space,
        objective: Objective,
        seed: int,
    ) -> None:
        import_optuna()
        self._name, self._folder, self._seed = name, folder, seed
        self._sampler, self._pruner = options.sampler, options.pruner
        self._is_minimized = objective.mode == "min"
        self.url = get_url(storage_url, folder)
        with self.choosing():
            self._storage = open_storage(self.url)
            facts = _get_facts(options, space, objective, seed)
            with self._asking():
                self._study = self._open_study(facts)
                self._id = self._storage.get_study_id_from_name(name)
        order = self._study.user_attrs[FACTS]["space"]
        space = {key: space[key] for key in order}
        self._points = list_points(space) if options.sampler == "grid" else None
        self._parameters = Parameters(space, self._points)
        self.num_trials = self._count_trials(options.trials)
        with quiet():  # a mistake in their arguments comes out now
            self._make_sampler(0)
            self._make_pruner()

    # -- opening -----------------------------------------------------------------------------------

    def _open_study(self, facts: dict[str, Any]) -> optuna.Study:
        import optuna

        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
            optuna.create_study(
                storage=self._storage,
                study_name=self._name,
                direction="minimize" if self._is_minimized else "maximize",
            )
        study = optuna.load_study(study_name=self._name, storage=self._storage)
        stored = study.user_attrs.get(FACTS)
        if stored is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(FACTS, facts)  # new, or its maker was killed
            return study
        difference = _find_difference(stored, facts)
        if difference:
            message = f"holds another search under the name {self._name}: {difference}"
            raise UserError(f"{message}; choose another --run-id", key=KEY)
        return study

    def _count_trials(self, trials: int | None) -> int:
        if self._points is not None:
            return len(self._points) if trials is None else min(trials, len(self._points))
        if trials is None:
            raise UserError("only a grid has an end of its own; give a number", key="search.trials")
        return trials

    def _make_sampler(self, number: int) -> Any:
        if self._points is not None:
            return None
        return make_component("sampler", self._sampler, self._seed, number)

    def _make_pruner(self) -> Any:
        import optuna

        if self._pruner is None:
            return optuna.pruners.NopPruner()
        return make_component("pruner", self._pruner, self._seed, 0)

    # -- proposing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def choosing(self) -> Iterator[None]:
        """The context in which one worker at a time chooses a trial. It waits for the others.

        Raises:
            UserError: the folder cannot be written.
        """
        path = self._folder / ".lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = lock_file(path, waits=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            yield
        finally:
            if file is not None:
                file.close()

    def propose(self) -> int | None:
        """Makes the next trial with all its values, in the state ``running``.

        To be called in ``choosing``.

        Returns:
            Its number; None if all trials are made.

        Raises:
            UserError: the sampler or the storage fails.
        """
        with self._asking():
            trials = self._study.get_trials(deepcopy=False)
            number = len(trials)
            if number >= self.num_trials:
                return None
            trial = self._propose_point(number)
            if trial is None:
                scratch = Scratch(
                    self._study, trials, self._make_sampler(number), self._make_pruner()
                )
                trial = scratch.propose(self._parameters)
            trial_id = self._storage.create_new_trial(self._id, trial)
            return self._storage.get_trial_number_from_id(trial_id)

    def _propose_point(self, number: int) -> FrozenTrial | None:
        from optuna.trial import TrialState, create_trial

        if self._points is None:
            return None
        return create_trial(
            state=TrialState.RUNNING,
            params=self._parameters.encode(self._points[number]),
            distributions=self._parameters.distributions,
        )

    # -- results -----------------------------------------------------------------------------------

    def report(self, number: int, step: int, score: float) -> bool:
        """Stores the monitored number of a running trial, and asks the pruner.

        The same report may come again, after a restart.

        Args:
            number: of the trial.
            step: of the validation, counted from 1.
            score: may be NaN.

        Returns:
            Whether the trial stops.
        """
        with self._asking():
            trial = self._get_trial(number)
            if trial.state.is_finished():
                return trial.state.name == "PRUNED"
            trial_id = self._get_trial_id(number)
            self._storage.set_trial_intermediate_value(trial_id, step, float(score))
            return self._decide(number, step)

    def is_pruned(self, number: int) -> bool:
        """Whether the pruner stops a trial, after the reports that are stored."""
        with self._asking():
            trial = self._get_trial(number)
            if trial.state.is_finished():
                return trial.state.name == "PRUNED"
            return trial.last_step is not None and self._decide(number, trial.last_step)

    def _decide(self, number: int, step: int) -> bool:
        """Returns the decision at a step. It is made once, because pruners remember theirs."""
        if self._pruner is None:
            return False
        decision = self._get_trial(number).user_attrs.get(DECISION)
        if decision is None or decision["step"] < step:
            trials = self._study.get_trials(deepcopy=False)
            decision = Scratch(self._study, trials, None, self._make_pruner()).decide(number)
            self._storage.set_trial_user_attr(self._get_trial_id(number), DECISION, decision)
        return bool(decision["stops"])

    def finish(self, number: int, score: float) -> None:
        """Ends a trial with its score. A score that is no number makes it a failed trial."""
        if math.isnan(score):
            self.fail(number, "the monitored number is NaN")
        else:
            self._tell(number, "COMPLETE", float(score))

    def prune(self, number: int) -> None:
        """Ends a trial that the pruner has stopped. Its score is its last report."""
        self._tell(number, "PRUNED")

    def fail(self, number: int, message: str) -> None:
        """Ends a trial that has no score.

        Args:
            number: of the trial.
            message: why.
        """
        self._tell(number, "FAIL", message=shorten(message, MAX_MESSAGE_CHARS))

    def _tell(self, number: int, state: str, score: float | None = None, message: str = "") -> None:
        """Ends a trial, unless it has ended already."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        with self._asking(), contextlib.suppress(UpdateFinishedTrialError):
            if self._get_trial(number).state.is_finished():
                return
            if message:
                self._storage.set_trial_user_attr(self._get_trial_id(number), MESSAGE, message)
            self._study.tell(number, score, TrialState[state], skip_if_finished=True)

    def list_trials(self) -> list[TrialRecord]:
        """Returns all trials by number. Their times are naive ones of the worker's machine."""
        with self._asking():
            return [self._make_record(trial) for trial in self._study.get_trials(deepcopy=False)]

    def _make_record(self, trial: FrozenTrial) -> TrialRecord:
        states = {"RUNNING": RUNNING, "COMPLETE": FINISHED, "PRUNED": PRUNED}
        state = states.get(trial.state.name, FAILED)
        message = trial.user_attrs.get(MESSAGE, "") if state == FAILED else ""
        return TrialRecord(
            number=trial.number,
            state=state,
            values=self._parameters.decode(trial.params),
            score=trial.value,
            reports=dict(sorted(trial.intermediate_values.items())),
            message=message,
            started=trial.datetime_start,
            ended=trial.datetime_complete,
        )

    def importances(self) -> dict[str, float]:
        """Returns how much each key matters, the highest first; empty if that is unknown."""
        from optuna.importance import get_param_importances

        with self._asking():
            trials = self._study.get_trials(deepcopy=False)
            scores = [trial.value for trial in trials if trial.state.name == "COMPLETE"]
            if len(scores) < MIN_TRIALS_FOR_IMPORTANCES or len(set(scores)) == 1:
                return {}
            try:
                found = get_param_importances(self._study)
            except Exception:  # its statistics do not take every space
                return {}
        return {key: float(value) for key, value in found.items() if math.isfinite(value)}

    # -- helpers -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """The context of calls to the storage: quiet, and with errors in one line."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        with quiet():
            try:
                yield
            except (OptunaError, SQLAlchemyError, OSError) as error:
                raise make_error(error, self.url) from None

    def _get_trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def _get_trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._get_trial_id(number))


def _get_facts(
    options: SearchOptions, space: Space, objective: Objective, seed: int
) -> dict[str, Any]:
    """Returns what must not change during a search, as JSON."""
    facts = {
        "space": {
            key: item.values if isinstance(item, Choices) else item._asdict()
            for key, item in space.items()
        },
        "sampler": options.sampler,
        "monitor": f"{objective.mode} {objective.metric}",
        "seed": seed,
    }
    return json.loads(json.dumps(facts))  # type: ignore[no-any-return]


def _find_difference(stored: dict[str, Any] | None, facts: dict[str, Any]) -> str:
    """Returns the first difference in words, or an empty string."""
    if stored is None:
        return "its trials are of another program"
    there = {**stored["space"], **{key: stored[key] for key in facts if key != "space"}}
    here = {**facts["space"], **{key: facts[key] for key in facts if key != "space"}}
    for key in {**there, **here}:
        if key not in there:
            return f"{key} is not varied there"
        if json.dumps(there[key], sort_keys=True) != json.dumps(here.get(key), sort_keys=True):
            value = (
                {k: v for k, v in there[key].items() if v}
                if isinstance(there[key], dict)
                else there[key]
            )
            name = {"sampler": "search.sampler", "monitor": "trainer.monitor"}.get(key, key)
            return f"{name} is {json.dumps(value)} there"
    return ""
