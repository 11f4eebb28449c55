"""``test.py --predict WHAT``: reads inputs batch by batch, and writes a row for each."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import torch

from base.data.units import find_units
from base.loop.evaluate import computes_loss, forward, mark_computes_loss
from base.loop.losses import take_out_predictions
from base.loop.reporter import TestSubject
from base.loop.task import TaskFacts
from base.tools.predict.batches import BatchMaker
from base.tools.predict.outputs import Facts, OutputKind, Row, choose_kind, simplify
from base.tools.predict.sources import Entry, Source, open_source
from base.tools.predict.table import Table, check_suffix
from base.tools.report import check_inside, check_output
from base.tools.samples import Samples
from logger.progress import progress
from utils.batch import as_plain, find_target, to_device
from utils.distributed import is_main
from utils.errors import UserError, is_out_of_memory, name_error, one_line
from utils.files import atomic_write

SOME_FAILED = 3  # the exit status if some inputs have no prediction
Forward = Callable[[Any, Any], tuple[Any, Any]]


class Predicted(NamedTuple):
    """The result of a prediction.

    Attributes:
        path: of the table.
        total: the number of inputs.
        failed: the number of those without a prediction.
    """

    path: Path
    total: int
    failed: int


def run(subject: TestSubject, config: Any, source: Path, output: Path | None) -> None:
    """Runs ``test.py --predict SOURCE``. Ends in status 3 if an input has no prediction."""
    if not is_main():
        return
    call = inspect.getattr_static(config.trainer_class(), "forward", None)
    call = call.__func__ if isinstance(call, staticmethod) else forward
    done = predict(subject, source, output, call)
    logger = logging.getLogger("test")
    message = "Predicted by the %s of %s; written to %s"
    logger.info(message, subject.weights, subject.checkpoint, done.path)
    if done.failed:
        logger.warning("%d of %d inputs have no prediction.", done.failed, done.total)
        sys.exit(SOME_FAILED)


def predict(
    subject: TestSubject, source: Path, target: Path | None = None, call: Forward = forward
) -> Predicted:
    """Writes a row for each input, in order. An input that fails gets empty cells and a warning.

    Args:
        subject: the model and its data. A first batch shows what the model's outputs are; the name
            of the loss shows whether they are probabilities or logits.
        source: a picture, a folder of them, or what the dataset's method ``read`` takes.
        target: a ``.csv`` or ``.jsonl`` file; by default ``test/predict-SOURCE.csv`` in the folder
            of the run.
        call: calls the model with a batch, as ``Trainer.forward``.

    Raises:
        UserError: no input could be predicted, the data cannot be read, or the table cannot be
            written.
    """
    folder = subject.folder / "test"
    name = f"predict-{source.resolve().name}"
    if target is not None:
        check_output(target)
        check_suffix(target)
    check_inside(folder, subject.folder)
    path = target or folder / f"{name}.csv"
    samples = Samples(subject.first_loader)
    maker = BatchMaker(subject.first_loader)
    inputs = open_source(source, samples, maker)
    facts = Facts(
        TaskFacts(subject.criterion, subject.task),
        samples.classes,
        find_units(subject.first_loader),
        folder / name,
        samples.name_numbers,
        getattr(samples.inner, "tokenizer", None),
    )
    predictor = Predictor(subject, maker, facts, call)
    inputs.keeps_size = predictor.kind.has_positions
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            table = Table(file, path.suffix.lower(), [inputs.column, *predictor.kind.columns])
            total, failed = write_all(table, predictor.predict_all(inputs))
            if failed == total:
                message = f"none of {total} inputs can be predicted" if total else "has no input"
                raise UserError(f"--predict {source}: {message}")
    except OSError as error:
        where = error.filename or path
        raise UserError(f"{where}: cannot be written: {error.strerror}") from None
    return Predicted(path, total, failed)


def write_all(table: Table, results: Iterable[tuple[str, list[Row] | None]]) -> tuple[int, int]:
    """Writes results by name; returns their number, and that of those without a row."""
    total = failed = 0
    for name, rows in results:
        total += 1
        failed += rows is None
        for row in [[]] if rows is None else rows:
            table.write([name, *row])
    return total, failed


class Predictor:
    """Predicts inputs, batch by batch.

    Args:
        subject, call: as for ``predict``.
        maker: makes the batches.
        facts: about the model and its data.

    Attributes:
        kind: of the model's outputs.

    Raises:
        UserError: the outputs are of no known kind.
    """

    def __init__(
        self, subject: TestSubject, maker: BatchMaker, facts: Facts, call: Forward
    ) -> None:
        self.model, self.device = subject.model.eval(), subject.device
        self.maker, self._call = maker, call
        self.logger = logging.getLogger("test")
        batch = next(iter(subject.first_loader))
        self.kind: OutputKind = choose_kind(self._run(batch), find_target(batch), facts)

    @torch.no_grad()
    def _run(self, batch: Any) -> Any:
        """Runs the model; returns its predictions on the CPU."""
        output, _ = self._call(self.model, to_device(batch, self.device))
        output = simplify(take_out_predictions(output))
        return to_device(as_plain(output), torch.device("cpu"))

    def _run_inputs(self, batch: Any) -> Any:
        """Runs the model on a batch whose targets are placeholders; see ``BatchMaker``.

        A model that computes its loss gets the placeholders too. If it fails, it is called without
        them, now and for all further batches.
        """
        try:
            return self._run(batch)
        except Exception:
            if not computes_loss(self.model):
                raise
            mark_computes_loss(self.model, False)
            try:
                return self._run(batch)
            except Exception:
                mark_computes_loss(self.model, True)
            raise  # the first error

    def predict_all(self, inputs: Source) -> Iterator[tuple[str, list[Row] | None]]:
        """Yields the name and the rows of each input, in order; None for one that fails.

        Raises:
            UserError: the model fails on each input of the first batch.
        """
        size = self.maker.batch_size
        total = None if inputs.count is None else ceil(inputs.count / size)
        batches = progress(split(inputs, size), total, "predict", self.logger)
        for number, entries in enumerate(batches):
            results = self._predict_readable(entries)
            if number == 0:
                check_first_batch(entries, results)
            for (name, value), result in zip(entries, results, strict=True):
                if isinstance(result, Exception):
                    verb = "read" if result is value else "predicted"
                    self.logger.warning("%s: cannot be %s: %s", name, verb, one_line(result))
                    yield name, None
                else:
                    yield name, result

    def _predict_readable(self, entries: list[Entry]) -> list[list[Row] | Exception]:
        """Returns the rows of each input. One that cannot be read keeps its error."""
        results = [value for _, value in entries]
        readable = [i for i, value in enumerate(results) if not isinstance(value, Exception)]
        predicted = self._predict([entries[index] for index in readable])
        for index, result in zip(readable, predicted, strict=True):
            results[index] = result
        return results

    def _predict(self, entries: list[Entry]) -> list[list[Row] | Exception]:
        """Returns the rows of each input, or the error of one that fails.

        If a batch fails, its inputs are predicted one by one.
        """
        if not entries:
            return []
        names = [name for name, _ in entries]
        try:
            batch = self.maker.make_batch([value for _, value in entries])
            output = self._run_inputs(batch)
            if len(output) != len(names):
                raise ValueError(f"the model gives {len(output)} outputs for {len(names)} inputs")
            return list(self.kind.list_rows(output, names, batch))
        except Exception as error:  # the user's model and collate function may raise anything
            if is_out_of_memory(error) or isinstance(error, OSError):  # a full disk
                raise
            if len(entries) == 1:
                return [error]
            return [result for entry in entries for result in self._predict([entry])]


def check_first_batch(entries: list[Entry], results: list[list[Row] | Exception]) -> None:
    """Raises UserError if the model fails on each input of a batch that could be read."""
    pairs = zip(entries, results, strict=True)
    predicted = [(name, result) for (name, value), result in pairs if result is not value]
    errors = [(name, result) for name, result in predicted if isinstance(result, Exception)]
    if errors and len(errors) == len(predicted):
        name, error = errors[0]
        raise UserError(f"--predict: the model fails on {name}: {name_error(error)}") from error


def split(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    """Yields lists of up to ``size`` entries."""
    iterator = iter(entries)
    while chunk := list(islice(iterator, size)):
        yield chunk
