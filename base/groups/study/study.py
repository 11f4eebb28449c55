"""Study: the trials of a search in their storage. Only this file and its helpers ask Optuna."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from base.groups.options import SearchOptions
from base.groups.plan.engine import GRID, NO_TRIALS
from base.groups.plan.grid import count_trials, list_points
from base.groups.plan.space import Space
from base.groups.study.proposal import DECISION, Parameters, Scratch, make_component
from base.groups.study.records import FAILED, FINISHED, PRUNED, RUNNING, TrialRecord
from base.groups.study.storage import KEY, asks_storage, get_url, import_optuna, open_storage, quiet
from base.groups.study.study_facts import FACTS, claim, find_name, get_facts, get_token
from base.tools.run_record import Objective
from utils.errors import UserError, shorten
from utils.files import hold_lock

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

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
        self._options = options
        self._facts = get_facts(options, space, objective, seed)
        self.url = get_url(storage_url, folder)
        self._prepare(space)  # before anything is stored
        with self.choosing():
            self._storage = open_storage(self.url)
            self._study = self._open_study("minimize" if objective.mode == "min" else "maximize")
        order = self._study.user_attrs[FACTS]["space"]
        self._prepare({key: space[key] for key in order})

    # -- opening -----------------------------------------------------------------------------------

    def _prepare(self, space: Space) -> None:
        """Sets what follows from the options."""
        options = self._options
        self._points = list_points(space) if options.sampler == GRID else None
        self._parameters = Parameters(space, self._points)
        self.num_trials = count_trials(options, space)
        if self._points is None and options.trials is None:
            raise UserError(NO_TRIALS, key="search")
        with quiet():
            self._make_sampler(0)
            self._make_pruner()

    @asks_storage
    def _open_study(self, direction: Literal["minimize", "maximize"]) -> optuna.Study:
        import optuna

        if self._options.storage is None:
            self._name = find_name(self._storage, self._name)
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
            optuna.create_study(storage=self._storage, study_name=self._name, direction=direction)
        study = optuna.load_study(study_name=self._name, storage=self._storage)
        self._id = self._storage.get_study_id_from_name(self._name)
        token = "" if self._options.storage is None else get_token(self._folder)
        claim(study, direction, self._facts, token, self._folder)
        return study

    def _make_sampler(self, number: int) -> Any:
        if self._points is not None:
            return None
        return make_component("sampler", self._options.sampler, self._seed, number)

    def _make_pruner(self) -> Any:
        import optuna

        if self._options.pruner is None:
            return optuna.pruners.NopPruner()
        return make_component("pruner", self._options.pruner, self._seed, 0)

    # -- proposing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def choosing(self) -> Iterator[None]:
        """The context in which one worker at a time chooses a trial. It waits for the others.

        Raises:
            UserError: the folder cannot be written.
        """
        path = self._folder / ".lock"
        with contextlib.ExitStack() as stack:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(hold_lock(path))
            except OSError as error:
                raise UserError(f"{path}: cannot be written: {error.strerror}") from None
            yield

    @asks_storage
    def propose(self) -> int | None:
        """Makes the next trial with all its values, in the state ``running``.

        To be called in ``choosing``.

        Returns:
            Its number; None if all trials are made.

        Raises:
            UserError: the sampler or the storage fails, or another search has taken the name.
        """
        trials = self._study.get_trials(deepcopy=False)
        if not trials and self._study.user_attrs.get(FACTS) != self._facts:
            raise UserError(f"another search has taken the name {self._name}", key=KEY)
        made = [trial for trial in trials if self._has_all_keys(trial)]
        if len(made) >= self.num_trials:
            return None
        if self._points is not None:
            trial = self._parameters.propose_point(self._points, made)
        else:
            sampler = self._make_sampler(len(trials))
            scratch = Scratch(self._study, trials, sampler, self._make_pruner())
            trial = scratch.propose(self._parameters)
        trial_id = self._storage.create_new_trial(self._id, trial)
        return self._storage.get_trial_number_from_id(trial_id)

    def _has_all_keys(self, trial: FrozenTrial) -> bool:
        """Whether this search has made a trial, and not another program, as a dashboard."""
        return trial.params.keys() == self._parameters.distributions.keys()

    # -- results -----------------------------------------------------------------------------------

    @asks_storage
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
        from optuna.exceptions import UpdateFinishedTrialError

        trial_id = self._get_trial_id(number)
        try:
            self._storage.set_trial_intermediate_value(trial_id, step, float(score))
            return self._decide(number, step)
        except UpdateFinishedTrialError:
            return self._get_trial(number).state.name == "PRUNED"

    @asks_storage
    def is_pruned(self, number: int) -> bool:
        """Whether the pruner stops a trial, after the reports that are stored."""
        trial = self._get_trial(number)
        if trial.state.is_finished():
            return trial.state.name == "PRUNED"
        return trial.last_step is not None and self._decide(number, trial.last_step)

    def _decide(self, number: int, step: int) -> bool:
        """Returns the decision at a step. It is made once, because pruners remember theirs."""
        if self._options.pruner is None:
            return False
        decision = self._get_trial(number).user_attrs.get(DECISION)
        if decision is None or decision["step"] < step:
            trials = self._study.get_trials(deepcopy=False)
            scratch = Scratch(self._study, trials, None, self._make_pruner())
            decision = scratch.decide(number)
            self._storage.set_trial_user_attr(self._get_trial_id(number), DECISION, decision)
        # A run that was killed may report again what came before the decision.
        return bool(decision["stops"]) and decision["step"] <= step

    def finish(self, number: int, score: float) -> None:
        """Ends a trial with its score. A score that is no number makes it a failed trial."""
        if math.isnan(score):
            self._tell(number, "FAIL", message="its score is NaN")
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

    @asks_storage
    def _tell(self, number: int, state: str, score: float | None = None, message: str = "") -> None:
        """Ends a trial, unless it has ended already."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        with contextlib.suppress(UpdateFinishedTrialError):
            if self._get_trial(number).state.is_finished():
                return
            if message:
                self._storage.set_trial_user_attr(self._get_trial_id(number), MESSAGE, message)
            self._study.tell(number, score, TrialState[state], skip_if_finished=True)

    # -- reading -----------------------------------------------------------------------------------

    @asks_storage
    def list_trials(self) -> list[TrialRecord]:
        """Returns all trials by number. Their times are naive ones of the worker's machine."""
        return [self._make_record(trial) for trial in self._study.get_trials(deepcopy=False)]

    def _make_record(self, trial: FrozenTrial) -> TrialRecord:
        states = {"RUNNING": RUNNING, "COMPLETE": FINISHED, "PRUNED": PRUNED}
        state = states.get(trial.state.name, FAILED)
        message = trial.user_attrs.get(MESSAGE, "")
        if not self._has_all_keys(trial):
            state, message = FAILED, "another program has added it"
        return TrialRecord(
            number=trial.number,
            state=state,
            values=self._parameters.decode(trial.params),
            score=trial.value,
            reports=dict(sorted(trial.intermediate_values.items())),
            message=message if state == FAILED else "",
            started=trial.datetime_start,
            ended=trial.datetime_complete,
        )

    @asks_storage
    def compute_importances(self) -> dict[str, float]:
        """Computes how much each key matters, the highest first; empty if that is unknown.

        They are those of Optuna's dashboard, which add up to 1.
        """
        from optuna.importance import get_param_importances

        trials = self._study.get_trials(deepcopy=False)
        scores = [trial.value for trial in trials if trial.state.name == "COMPLETE"]
        if len(scores) < MIN_TRIALS_FOR_IMPORTANCES or len(set(scores)) == 1:
            return {}
        try:
            found = get_param_importances(self._study)
        except Exception:  # its statistics do not take every space
            return {}
        return {key: float(value) for key, value in found.items() if math.isfinite(value)}

    def _get_trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def _get_trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._get_trial_id(number))
