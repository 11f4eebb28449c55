"""``python -m base.tools.runs`` on groups: listing, the best, and the comparison of two."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.base.tools.made_groups import make_folds, make_group, make_member, make_seeds
from tests.base.tools.programs import Ended

Command = Callable[..., Ended]
SCORES = {seed: 0.90 + 0.001 * (seed * 7 % 5) for seed in range(1, 9)}
SPACE = {"optimizer.args.lr": {"low": 0.1, "high": 0.2}}
GAINS = {1: 0.010, 2: 0.014, 3: 0.008, 4: 0.012, 5: 0.013, 6: 0.009, 7: 0.016, 8: 0.011}


def add(scores: dict[int, float], gains: dict[int, float]) -> dict[int, float]:
    return {seed: scores[seed] + gains[seed] for seed in gains}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_seeds(tmp_path, "digits/base", SCORES)
    make_seeds(tmp_path, "digits/wide", add(SCORES, GAINS), lr=0.2)
    make_group(tmp_path, "digits/lr", search={"space": SPACE, "trials": 4})
    for number, score in enumerate((0.80, 0.95, 0.97, 0.85)):
        outcome = "failed: no memory" if number == 2 else "finished"
        make_member(tmp_path, f"digits/lr/trial-{number}", score, outcome=outcome)
    make_member(tmp_path, "digits/one", 0.93)
    return tmp_path


def test_a_group_is_one_line(root: Path, command: Command) -> None:
    lines = [" ".join(line.split()) for line in command(root).out.splitlines()[1:]]
    start = "2026-11-25 10:00"
    repeat = "repeat: seeds=[1, 2, 3, 4, 5, 6, 7, 8]"
    assert lines == [
        f"digits/base {start} finished 8/8 runs val_accuracy 0.9021 ± 0.0012 {repeat}",
        f"digits/lr {start} partly failed 3/4 trials, 1 failed"
        " val_accuracy 0.95 (trial-1) search: optimizer.args.lr",
        f"digits/one {start} finished 2/2 val_accuracy 0.93 (epoch 2)",
        f"digits/wide {start} finished 8/8 runs val_accuracy 0.9138 ± 0.0031 {repeat}",
    ]


def test_a_group_unfolds_if_it_is_named(root: Path, command: Command) -> None:
    (root / "digits" / "lr" / "trial-4").mkdir()
    for words in (("list", "digits/lr"), ("list", "lr"), ("list", str(root / "digits" / "lr"))):
        lines = [line.split() for line in command(root, *words).out.splitlines()]
        names = [f"digits/lr/trial-{number}" for number in range(5)]
        assert [line[0] for line in lines[1:]] == ["digits/lr", *names], words
        assert lines[-1] == ["digits/lr/trial-4", "not", "begun", "0/?"]
    assert len(command(root, "list", "digits").out.splitlines()) == 1 + 4
    assert len(command(root, "list", "--all").out.splitlines()) == 1 + 4 + 8 + 8 + 5
    make_group(root, "digits/few", repeat={"seeds": 2})
    done = command(root, "list", "few")
    assert [line.split()[:3] for line in done.out.splitlines()[2:]] == [
        [f"digits/few/seed-{seed}", "not", "begun"] for seed in (123, 124)
    ]


def test_the_best_may_be_a_trial(root: Path, command: Command) -> None:
    done = command(root, "best", "digits")
    assert "The best of 6 runs and groups." in done.out  # 3 trials, 2 repetitions and a run
    assert f"python test.py -r {root / 'digits/lr/trial-1'}\n" in done.out
    done = command(root, "best", "digits/wide")
    assert f"The best of 8 runs. To test it: python test.py -r {root / 'digits/wide/seed-'}" in (
        done.out
    )


def test_clean_reaches_members(root: Path, command: Command) -> None:
    trial = root / "digits" / "lr" / "trial-1"
    for number in (1, 2):
        (trial / f"checkpoint-epoch{number}.pt").touch()
    assert "1 deleted" in command(root, "clean", "digits/lr", "--yes").out
    assert [path.name for path in trial.glob("*.pt")] == ["checkpoint-epoch2.pt"]


def test_groups_are_compared_by_pairs_of_seeds(root: Path, command: Command) -> None:
    done = command(root, "compare", "digits/base", "wide")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[-1] == (
        "digits/wide is better than digits/base by 0.0116 in val_accuracy "
        "(95 %: 0.0094 to 0.0139; p = 0.0078, 8 seeds)."
    )
    assert "optimizer.args.lr  0.1          0.2" in lines
    assert "1     0.902        0.912        -0.01" in lines
    assert "mean  0.90212      0.91375      -0.011625" in lines
    assert not (root / "compare.svg").exists()


def test_it_says_if_nothing_follows_and_how_many_seeds_would_tell(
    root: Path, command: Command
) -> None:
    gains = {1: 0.010, 2: -0.012, 3: 0.020, 4: 0.005, 5: 0.011}
    make_seeds(root, "digits/deep", add(SCORES, gains))
    assert command(root, "compare", "deep", "base").out.splitlines()[-4:] == [
        "Whether digits/deep or digits/base is better cannot be told: digits/deep is ahead by 0.007"
        " in val_accuracy (95 %: -0.008 to 0.021; p = 0.31, 5 seeds).",
        "If mean and spread stay like this, about 26 seeds, 21 more, would probably tell.",
        "Note: a permutation test of 5 pairs cannot give a p below 0.062; the interval decides.",
        "Without a partner in the other group: digits/base/seed-6, digits/base/seed-7,"
        " digits/base/seed-8",
    ]


def test_folds_are_compared_with_the_corrected_interval(root: Path, command: Command) -> None:
    gains = {1: 0.01, 2: 0.02, 3: 0.03, 4: 0.012, 5: 0.004}
    first = {(1, fold): 0.9 for fold in gains}
    second = {(1, fold): 0.9 + gain for fold, gain in gains.items()}
    make_folds(root, "digits/five", first)
    make_folds(root, "digits/other", second)
    out = command(root, "compare", "five", "other").out
    assert "(95 %: -0.004 to 0.034; p = 0.062, 5 folds)" in out  # 0.003 to 0.028 without correction
    assert "If mean and spread stay like this, about 8 seeds x 5 folds would" in out
    twice = {(seed, fold): score for (_, fold), score in second.items() for seed in (1, 2)}
    make_folds(root, "digits/twice", twice)
    make_folds(root, "digits/again", dict.fromkeys(twice, 0.9))
    out = command(root, "compare", "again", "twice").out
    assert "(95 %: -0.004 to 0.034; p = 0.062, 2 seeds x 5 folds)" in out
    assert "More seeds on the same folds add no data" in out


def test_members_without_a_number_are_named(root: Path, command: Command) -> None:
    make_group(root, "digits/bad", repeat={"seeds": 6}, seed=1)
    for seed, outcome in ((1, "finished"), (2, "failed: no data"), (3, "stopped by SIGTERM")):
        make_member(root, f"digits/bad/seed-{seed}", 0.9, seed, outcome=outcome)
    make_member(root, "digits/bad/seed-4", None, 4)
    make_member(root, "digits/bad/seed-5", 0.91, 5, monitor="off")
    done = command(root, "compare", "bad", "base", "--metric", "val_accuracy")
    assert (
        "Left out of digits/bad: digits/bad/seed-6 (not begun), digits/bad/seed-2 (crashed at 2/2),"
        " digits/bad/seed-3 (stopped at 2/2), digits/bad/seed-4 (has no val_accuracy)"
    ) in done.out
    assert "2 seeds)" in done.out
    assert "The runs of digits/bad also differ in trainer.monitor" in done.out


def test_one_pair_tells_nothing(root: Path, command: Command) -> None:
    make_seeds(root, "digits/few", {1: 0.912, 20: 0.9})
    out = command(root, "compare", "few", "base").out
    assert (
        "Whether digits/few or digits/base is better cannot be told from 1 seed: "
        "digits/few is ahead by 0.01 in val_accuracy. Run more seeds.\n"
    ) in out


def test_groups_without_common_seeds_are_compared_without_pairs(
    root: Path, command: Command
) -> None:
    make_seeds(root, "digits/late", {11: 0.950, 12: 0.953, 13: 0.951})
    out = command(root, "compare", "late", "base").out
    assert "digits/late is better than digits/base by 0.0492 in val_accuracy" in out
    assert "8 and 3 seeds)" not in out
    assert "3 and 8 seeds)" in out
    assert "No seeds are in both groups, so that they are compared by Welch's test." in out


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("val_loss", "digits/wide is better than digits/base by 0.0116 in val_loss"),
        ("val_f1", "digits/base is higher than digits/wide by 0.0116 in val_f1"),
        ("max val_f1", "digits/base is better than digits/wide by 0.0116 in val_f1"),
        ("min val_f1", "digits/wide is better than digits/base by 0.0116 in val_f1"),
    ],
)
def test_another_number_can_be_compared(
    root: Path, command: Command, metric: str, sentence: str
) -> None:
    assert sentence in command(root, "compare", "base", "wide", "--metric", metric).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("base", "one"), "digits/base is a group of runs and digits/one is a run; give two"),
        (("base", "wide", "loss"), "compare takes two groups, not 3"),
        (("base", "digits/base"), "digits/base: compare takes two different groups"),
        (
            ("base", "lr"),
            "digits/lr is a search, whose trials differ in more than seed and fold; to",
        ),
        (("base", "folds"), "digits/base has no folds and digits/folds 5; give both the same"),
        (("folds", "split"), "the folds of digits/folds and digits/split hold different samples"),
        (("base", "loss"), "different numbers: max val_accuracy, min val_loss; choose one by"),
        (("base", "doubled"), "digits/doubled/a and digits/doubled/b both have seed 1; a group"),
        (("base", "empty"), "digits/empty: no finished run has a val_accuracy: digits/empty/seed-"),
        (("base", "single"), "digits/base and digits/single have no finished run with the same"),
        (("base", "wide", "-m", "val_f"), "has a val_f (did you mean 'val_f1'?); there are epoch"),
        (("base", "wide", "-o", "x.svg"), "--output is for the curves of runs"),
        (("one", "digits/lr/trial-1", "-m", "val_f1"), "--metric is for groups"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    root: Path, command: Command, words: tuple[str, ...], message: str
) -> None:
    scores = {(1, fold): 0.9 for fold in range(1, 6)}
    make_folds(root, "digits/folds", scores)
    make_folds(root, "digits/split", scores, split_seed=1)
    make_group(root, "digits/empty", repeat={"seeds": 2})
    make_seeds(root, "digits/single", {99: 0.9})
    make_member(root, "digits/loss/a", 0.9, monitor="min val_loss")
    for name in "ab":
        make_member(root, f"digits/doubled/{name}", 0.9, seed=1)
    done = command(root, "compare", *words)
    assert done.status == 2
    assert (done.out, len(done.err.splitlines())) == ("", 1)
    assert message in done.err


def test_a_search_of_a_thousand_trials_is_listed_quickly(tmp_path: Path, command: Command) -> None:
    make_group(tmp_path, "digits/lr", search={"space": SPACE, "trials": 1000})
    for number in range(1000):
        make_member(tmp_path, f"digits/lr/trial-{number}", number / 1000)
    start = time.process_time()
    assert "1000/1000 trials" in command(tmp_path).out
    assert time.process_time() - start < 3  # seconds; 0.5 were measured
