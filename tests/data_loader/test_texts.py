"""Texts from CSV files and folders: labels, tokens, batches, and bad files."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from data_loader.text_files import read_table
from data_loader.texts import CsvTexts, FolderTexts, TextDataLoader
from data_loader.tokenizer import NewTokenizer
from utils.errors import UserError

pytest.importorskip("tokenizers")
WORDS = {"good": ("fine", "lovely", "superb"), "bad": ("awful", "poor", "grim")}
PLAIN = ("a", "film", "of", "the", "plot")


def write_reviews(path: Path, count: int = 80, seed: int = 0) -> Path:
    """Writes reviews of different lengths, of which one word decides whether they are good."""
    drawn = random.Random(seed)
    rows = []
    for _ in range(count):
        label = drawn.choice(sorted(WORDS))
        words = [*drawn.choices(PLAIN, k=drawn.randint(1, 30)), drawn.choice(WORDS[label])]
        rows.append((" ".join(words), label))
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def make_dataset(file: Path, **options: Any) -> CsvTexts:
    return CsvTexts(file, NewTokenizer(300, file), **options)


def test_texts_become_tokens_and_labels_become_numbers(tmp_path: Path) -> None:
    dataset = make_dataset(write_reviews(tmp_path / "train.csv"))
    sample = dataset[0]
    assert dataset.classes == ["bad", "good"]
    text = dataset.tokenizer.decode(sample["input_ids"], skip_special_tokens=True)
    assert text == dataset.describe(0)
    assert dataset.classes[int(sample["labels"])] in WORDS
    assert sample["input_ids"].shape == sample["attention_mask"].shape == (dataset.lengths[0],)


def test_the_same_texts_give_the_same_tokenizer(tmp_path: Path) -> None:
    file = write_reviews(tmp_path / "train.csv")
    one, two = make_dataset(file), make_dataset(file)
    assert one.tokenizer.get_vocab() == two.tokenizer.get_vocab()
    assert torch.equal(one[5]["input_ids"], two[5]["input_ids"])


@pytest.mark.parametrize("similar_lengths", [True, False])
def test_split_has_each_sample_once_and_little_padding(tmp_path: Path, similar_lengths) -> None:
    dataset = make_dataset(write_reviews(tmp_path / "train.csv"))
    loader = TextDataLoader(
        dataset, 8, validation_split=0.25, similar_lengths=similar_lengths, pad_to_multiple_of=4
    )
    valid = loader.split_validation()
    assert valid is not None
    batches = list(loader)
    drawn = [index for batch in loader.list_batches() + valid.list_batches() for index in batch]
    assert sorted(drawn) == list(range(80))
    assert (loader.n_samples, valid.n_samples) == (60, 20)
    assert all(batch["input_ids"].shape[1] % 4 == 0 for batch in batches)
    padding = 1 - sum(b["attention_mask"].sum() for b in batches) / sum(
        b["attention_mask"].numel() for b in batches
    )
    assert padding < (0.2 if similar_lengths else 0.6)


def test_long_texts_are_truncated_or_divided(tmp_path: Path) -> None:
    file = write_reviews(tmp_path / "train.csv")
    classified = make_dataset(file, max_length=10)
    assert max(classified.lengths) == 10
    assert len(classified) == 80
    language = make_dataset(file, max_length=10, target="next_token")
    assert len(language) > 80
    assert torch.equal(language[0]["labels"], language[0]["input_ids"])


def test_masked_tokens_are_the_labels(tmp_path: Path) -> None:
    file = write_reviews(tmp_path / "train.csv")
    plain = make_dataset(file, target="next_token")
    dataset = make_dataset(file, target="masked_token")
    changed = 0
    for index in range(len(dataset)):
        sample, original = dataset[index], plain[index]["input_ids"]
        is_chosen = sample["labels"] != -100
        assert torch.equal(sample["labels"][is_chosen], original[is_chosen])
        assert torch.equal(sample["input_ids"][~is_chosen], original[~is_chosen])
        changed += int((sample["input_ids"] == dataset.tokenizer.mask_token_id).sum())
    assert 0.08 < changed / sum(plain.lengths) < 0.16  # 80 % of 15 %, of which none is special


def test_labels_of_language_are_ignored_where_texts_are_padded(tmp_path: Path) -> None:
    loader = TextDataLoader(
        make_dataset(write_reviews(tmp_path / "train.csv"), target="next_token"), 8
    )
    batch = next(iter(loader))
    assert torch.equal(batch["labels"] == -100, batch["attention_mask"] == 0)


def test_a_folder_has_a_class_in_each_subfolder(tmp_path: Path) -> None:
    for label, words in WORDS.items():
        (tmp_path / "train" / label).mkdir(parents=True)
        for number, word in enumerate(words):
            path = tmp_path / "train" / label / f"{number}.txt"
            path.write_text(f"\ufeffa {word} film", encoding="utf-8")
    dataset = FolderTexts(tmp_path / "train", NewTokenizer(270, tmp_path / "train"))
    assert dataset.classes == ["bad", "good"]
    assert dataset.describe(0) == "a awful film"
    assert dataset.samples[5][0].endswith("good/2.txt")


def test_files_are_read_for_predictions_as_samples_are(tmp_path: Path) -> None:
    dataset = make_dataset(write_reviews(tmp_path / "train.csv"))
    (tmp_path / "new.txt").write_text(f"{dataset.describe(3)}\n\nanother\n", encoding="utf-8")
    found = list(dataset.read(tmp_path / "new.txt"))
    assert [name for name, _ in found] == [f"{tmp_path / 'new.txt'}:{line}" for line in (1, 3)]
    assert torch.equal(found[0][1]["input_ids"], dataset[3]["input_ids"])
    assert "labels" not in found[0][1]
    names = [name for name, _ in dataset.read(tmp_path / "train.csv")]
    assert len(names) == 80


def test_a_bom_quotes_and_line_breaks_in_a_csv_are_read(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(b'\xef\xbb\xbftext,label\r\n"a ""b"",\nc",1\r\n,2\r\n')
    assert read_table(path, {"text": "text", "label": "label"}) == [
        (3, ['a "b",\nc', "1"]),
        (4, ["", "2"]),
    ]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_header_without_commas_shows_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "odd.csv"
    content = 'text;label\n"a; b, c";1\n'.replace(";", delimiter)
    path.write_text(content, encoding="utf-8-sig")
    expected = [(2, ["a; b, c".replace(";", delimiter), "1"])]
    assert read_table(path, {"text": "text", "label": "label"}) == expected


def test_an_empty_text_has_tokens_and_numbers_sort_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("text,label\n,10\nb,9\n", encoding="utf-8")
    dataset = make_dataset(path)
    assert dataset.classes == ["9", "10"]
    assert dataset.lengths.tolist()[0] == 2


def test_labels_that_are_numbers_sort_by_value_and_nan_is_a_warning(
    tmp_path: Path, caplog: Any
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("text,label\na,10.0\nb,-1\nc,2.0\n", encoding="utf-8")
    assert make_dataset(path).classes == ["-1", "2.0", "10.0"]
    assert "NaN" not in caplog.text
    path.write_text("text,label\na,10.0\nb,NaN\nc,2.0\n", encoding="utf-8")
    assert make_dataset(path).classes == ["10.0", "2.0", "NaN"]
    assert "the label 'NaN', which is taken for a class" in caplog.text


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "good"])
def test_a_number_that_is_not_finite_is_an_error(tmp_path: Path, value: str) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(f"text,label\na,1.5\nb,{value}\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"label of text 2 is not a finite number: '{value}'"):
        make_dataset(path, target="number")


def test_a_class_folder_without_texts_is_an_error_unless_it_is_named(tmp_path: Path) -> None:
    for name in ("bad/1.txt", "good/1.txt", "good/.hidden.txt", ".checkpoints/1.txt"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).write_text("a film", encoding="utf-8")
    tokenizer = NewTokenizer(270, tmp_path / "train")
    assert len(FolderTexts(tmp_path / "train", tokenizer)) == 2
    (tmp_path / "train" / "ugly").mkdir()
    with pytest.raises(UserError, match="ugly holds no"):
        FolderTexts(tmp_path / "train", tokenizer)
    classes = ["bad", "good", "ugly"]
    assert FolderTexts(tmp_path / "train", tokenizer, classes=classes).classes == classes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"text,label\n", "holds no rows"),
        (b"txt,label\na,b\n", "no column 'text' .did you mean 'txt'"),
        (b"text,label\na\n", "line 2: must have 2 columns"),
        (b"text,label\na,b,c\n", "line 2: must have 2 columns"),
        (b"text,label\na,\n", "line 2: the column 'label' is empty"),
        (b"text,label\n\xff,b\n", "byte 0xff is not utf-8; .* encoding, such as cp1252"),
        ("text,label\na,b\n".encode("utf-16"), "encoding, such as utf-16"),
        (b"text,label\na,b\nc,b\n", "the texts have one label only, 'b'; name all classes"),
        (b'text,label\n"a,b\n', "line 2: is not valid CSV"),
    ],
)
def test_a_bad_csv_is_an_error_that_names_the_line(tmp_path: Path, content, message) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        make_dataset(path)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"classes": ["good"]}, "classes"),
        ({"max_length": 2}, "max_length"),
        ({"target": "number"}, "target"),
        ({"classes": ["bad", "good", "bad"]}, "classes"),
        ({"label": "class"}, "label"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(tmp_path: Path, options, key) -> None:
    with pytest.raises(UserError) as error:
        make_dataset(write_reviews(tmp_path / "train.csv"), **options)
    assert [problem.key for problem in error.value.problems] == [key]


def test_a_new_tokenizer_needs_the_training_texts_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer.source: is missing; name the training data"):
        CsvTexts(write_reviews(tmp_path / "train.csv"), NewTokenizer(300))
