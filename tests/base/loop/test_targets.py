"""Batches weigh by the targets that count: windows and ranks have the gradient of one batch."""

from __future__ import annotations

import copy
import functools
import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from base.loop.evaluate import Weigher, computes_loss, evaluate, forward, mark_computes_loss
from base.loop.losses import ModelLoss
from base.loop.metrics import MetricSet
from base.loop.targets import TargetCounter
from base.loop.update import Update
from base.options import TrainerOptions
from base.parallel.ddp import DDP
from base.parallel.strategy import NoParallel
from model.metric import accuracy
from tests.ranks import in_ranks
from utils.distributed import rank, world_size

CPU = torch.device("cpu")
SIZES = (3, 1, 2, 4)  # of the micro-batches
IGNORED = {"tokens": -100, "pixels": 255, "masked": -100, "samples": 2}
IGNORED |= {"causal": -100, "classification": -100}
CASES = list(IGNORED)


class Tokens(nn.Module):
    """Scores (N, C, …) of each element of the input (N, 3, …)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, x):
        return self.layer(x.movedim(1, -1)).movedim(-1, 1)


def masked_loss(output, target):
    """A loss of a project, whose mask is in the target."""
    classes, mask = target
    losses = F.cross_entropy(output, classes, reduction="none")
    return (losses * mask).sum() / mask.sum().clamp(min=1)  # 0 / 0 has no gradient


masked_loss.count_targets = lambda batch: int(batch[1][1].sum())  # type: ignore[attr-defined]


def make_case(kind):
    """A model in double precision, its loss, and one batch of all samples."""
    torch.manual_seed(1)
    n = sum(SIZES)
    shape = {"samples": (), "pixels": (4, 4)}.get(kind, (6,))
    target = torch.randint(0, 5, (n, *shape))
    target[torch.rand(target.shape) < 0.4] = IGNORED[kind]
    target[3] = IGNORED[kind]  # the second micro-batch has no target
    if kind in ("causal", "classification"):
        model = make_text_model(kind)
        ids = torch.randint(0, 9, (n, 6))
        labels = target if kind == "causal" else torch.randint(0, 5, (n,))
        return model, ModelLoss(model, model), {"input_ids": ids, "labels": labels}
    x = torch.randn(n, 3, *shape, dtype=torch.float64)
    losses = {
        "tokens": F.cross_entropy,
        "pixels": nn.CrossEntropyLoss(torch.rand(5, dtype=torch.float64) + 0.1, ignore_index=255),
        "masked": masked_loss,
        "samples": functools.partial(F.cross_entropy, ignore_index=2),
    }
    if kind == "masked":
        mask = target != -100
        return Tokens().double(), losses[kind], (x, (target.clamp(min=0), mask))
    return Tokens().double(), losses[kind], (x, target)


def make_text_model(kind):
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 6}
    tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "num_labels": 5}
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = transformers.GPT2Config(**sizes, **tokens, **dropouts)
    auto = transformers.AutoModelForCausalLM
    if kind == "classification":
        auto = transformers.AutoModelForSequenceClassification
    return auto.from_config(config).double()


def select(value, begin, end):
    if isinstance(value, torch.Tensor):
        return value[begin:end]
    if isinstance(value, dict):
        return {key: select(item, begin, end) for key, item in value.items()}
    return tuple(select(item, begin, end) for item in value)


def divide(batch, sizes):
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return [select(batch, end - size, end) for end, size in zip(ends, sizes, strict=True)]


def train(kind, sizes, accumulation_steps=1, length=None, **options):
    """Trains on this rank's micro-batches.

    Returns:
        The gradients of the steps, and the training's loss.
    """
    model, criterion, batch = make_case(kind)
    parallel = DDP() if world_size() > 1 else NoParallel()
    wrapped = parallel.wrap(model, CPU)
    mark_computes_loss(wrapped, computes_loss(model))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    gradients = []
    optimizer.register_step_pre_hook(
        lambda *_: gradients.append(
            torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])
        )
    )
    options = TrainerOptions(epochs=1, accumulation_steps=accumulation_steps, **options)
    update = Update(wrapped, optimizer, options, CPU, parallel=parallel)
    metrics = MetricSet([])
    batches = divide(batch, sizes)
    weigher = Weigher(batches, criterion, metrics, update=update)
    for number, micro_batch in enumerate(batches[rank() :: world_size()]):
        weight = weigher.weigh(micro_batch)
        if weigher.skips:
            continue
        with update.forward_context(None if length is None else length - number):
            output, target = forward(wrapped, micro_batch)
            loss = criterion(output, target)
        update.backward(loss, weight)
        metrics.add_batch(loss, output, target, micro_batch, weight)
        update.step()
    update.flush()
    return gradients, metrics.result()["loss"]


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize(("steps", "length"), [(4, None), (8, None), (8, 4)])
def test_a_window_of_uneven_batches_has_the_gradient_of_one_batch(kind, steps, length):
    sizes = (2, 2, 2, 2) if kind == "classification" else SIZES
    (expected,), loss = train(kind, (sum(sizes),))
    (found,), found_loss = train(kind, sizes, steps, length)
    check(kind, found, expected, found_loss, loss)


def check(kind, found, expected, found_loss, loss):
    """They are equal to rounding. HuggingFace's causal loss is in single precision."""
    rtol, atol = (1e-3, 1e-6) if kind == "causal" else (1e-10, 1e-12)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    assert found_loss == pytest.approx(loss, rel=1e-6 if kind == "causal" else 1e-10)


@pytest.mark.parametrize("options", [{"grad_clip_norm": 0.01}, {"precision": "fp16"}])
def test_the_gradient_is_complete_before_it_is_clipped_or_unscaled(options):
    (expected,), _ = train("tokens", (sum(SIZES),), **options)
    (found,), _ = train("tokens", SIZES, 4, **options)
    exactness = {"rtol": 2e-2, "atol": 1e-3} if "precision" in options else {"rtol": 1e-9}
    torch.testing.assert_close(found, expected, **({"atol": 1e-12} | exactness))


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "classification"])
@pytest.mark.parametrize("steps", [1, 2])
def test_ranks_with_uneven_counts_have_the_gradients_of_one_process(kind, steps):
    """Rank 1 has no target in its first batch."""
    sizes = SIZES if steps == 2 else SIZES[:2]
    (expected,), loss = train(kind, (sum(sizes),))
    for (found,), found_loss in in_ranks(2, train, kind, sizes, steps, steps):
        check(kind, found, expected, found_loss, loss)


def test_samples_with_nothing_to_ignore_have_the_bits_of_before():
    """A window of plain classes is the mean of its batches, also if the last one is smaller."""
    x, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    model = nn.Linear(3, 4)
    twin = copy.deepcopy(model)
    update = Update(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        TrainerOptions(epochs=1, accumulation_steps=2),
        CPU,
    )
    batches = divide((x, target), (4, 1))
    weigher = Weigher(batches, F.cross_entropy, MetricSet([]), update=update)
    for number, (inputs, classes) in enumerate(batches):
        weight = weigher.weigh((inputs, classes))
        with update.forward_context(2 - number):
            loss = F.cross_entropy(model(inputs), classes)
        update.backward(loss, weight)
        (F.cross_entropy(twin(inputs), classes) / 2).backward()
        update.step()
    torch.optim.SGD(twin.parameters(), lr=1.0).step()
    assert model.weight.equal(twin.weight)


def test_means_of_an_evaluation_are_over_all_targets_that_count():
    model, criterion, batch = make_case("tokens")
    batch[1][3, :2] = 2  # each batch has a target, because the metrics ignore others
    functions = [accuracy, functools.partial(accuracy, ignore_index=1)]
    functions[1].__name__ = "without_1"  # type: ignore[attr-defined]

    def run(sizes):
        return evaluate(model, divide(batch, sizes), criterion, MetricSet(functions), CPU)

    expected = run((sum(SIZES),))
    assert run(SIZES) == pytest.approx(expected, rel=1e-6)
    hits = (model(batch[0]).argmax(1) == batch[1])[batch[1] != -100]
    assert expected["accuracy"] == pytest.approx(hits.double().mean().item())


def test_a_few_ignored_samples_do_not_count_in_the_loss_of_an_evaluation():
    x, target = torch.randn(5, 3), torch.tensor([0, 1, -100, -100, 0])
    model = nn.Linear(3, 4)
    metrics = MetricSet([])
    found = evaluate(model, divide((x, target), (4, 1)), F.cross_entropy, metrics, CPU)
    assert found["loss"] == pytest.approx(F.cross_entropy(model(x), target).item(), rel=1e-6)
    assert metrics.n_samples == 5


def test_ranks_warn_of_ignored_samples_that_no_option_announces():
    assert in_ranks(2, warn) == [1, 1]


def warn():
    messages = []
    logging.getLogger("train").warning = lambda *args: messages.append(args)  # type: ignore
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))])
    update = Update(nn.Linear(1, 1), optimizer, TrainerOptions(1), CPU, parallel=DDP())
    batch = torch.ones(3, 1), torch.tensor([0, 1, -100])
    weigher = Weigher([batch], F.cross_entropy, MetricSet([]), update=update)
    assert [weigher.weigh(batch), weigher.weigh(batch)] == [1.0, 1.0]
    return len(messages)


@pytest.mark.parametrize(
    ("criterion", "target"),
    [
        (F.mse_loss, torch.ones(2, 3, dtype=torch.int64)),
        (F.binary_cross_entropy_with_logits, torch.ones(2, 3)),
        (nn.CrossEntropyLoss(reduction="sum"), torch.ones(2, 3, dtype=torch.int64)),
        (F.cross_entropy, torch.ones(2, 3)),
        (F.cross_entropy, [{"labels": torch.ones(2)}]),
    ],
    ids=["regression", "labels", "sum", "probabilities", "boxes"],
)
def test_other_losses_and_targets_are_not_counted(criterion, target):
    assert not TargetCounter(criterion, None).fits((torch.ones(2, 3), target))


def test_perplexity_is_that_of_the_mean_loss():
    perplexity = pytest.importorskip("model.perplexity").Perplexity()
    model, criterion, batch = make_case("causal")
    metrics = MetricSet([perplexity, accuracy])
    for sizes in ((sum(SIZES),), SIZES):
        numbers = evaluate(model, divide(batch, sizes), criterion, metrics, CPU)
        expected = torch.tensor(numbers["loss"]).exp().item()
        assert numbers["Perplexity"] == pytest.approx(expected, rel=1e-5)
    logits, labels = model(batch["input_ids"]).logits[:, :-1], batch["labels"][:, 1:]
    hits = (logits.argmax(-1) == labels)[labels != -100]
    assert numbers["accuracy"] == pytest.approx(hits.double().mean().item())
