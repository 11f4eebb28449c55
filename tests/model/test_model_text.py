"""HuggingFace's models from a folder or a config, their errors, and their way into a folder."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from base.evaluation import load_subject
from base.loop.assembly import infer_shapes
from base.schema import SCHEMA
from base.transfer.selection import get_layers
from config import ConfigParser
from data_loader.texts import TextDataLoader
from model.text import Lora, main, transformer
from tests.data_loader.test_texts import make_dataset, write_reviews
from tests.helpers import load, make_trainer
from utils.errors import UserError

pytest.importorskip("transformers")
SMALL = {
    "model_type": "bert",
    "vocab_size": 300,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


def make_model(**options: Any) -> Any:
    torch.manual_seed(0)
    return transformer(config=SMALL, **{"num_labels": 2} | options)


def make_config(folder: Path, **trainer: Any) -> dict[str, Any]:
    """A run on 80 reviews, which trains its tokenizer."""
    file = str(folder / "train.csv")
    if not Path(file).exists():
        write_reviews(Path(file))
    dataset = {"file": file, "max_length": 40, "tokenizer": {"vocab_size": 300, "source": file}}
    return {
        "name": "reviews",
        "n_gpu": 0,
        "arch": {"type": "text.transformer", "args": {"num_labels": 2, "config": dict(SMALL)}},
        "data_loader": {
            "type": "texts.TextDataLoader",
            "args": {
                "batch_size": 16,
                "validation_split": 0.25,
                "dataset": {"type": "texts.CsvTexts", "args": dataset},
            },
        },
        "optimizer": {"type": "AdamW", "args": {"lr": 0.003}},
        "metrics": ["accuracy"],
        "trainer": {"epochs": 1, "save_dir": str(folder / "saved"), "tensorboard": False} | trainer,
    }


@pytest.mark.parametrize("task", ["SequenceClassification", "CausalLM", "MaskedLM"])
def test_model_gives_logits_and_computes_its_loss(task: Any) -> None:
    changes = {"is_decoder": True} if task == "CausalLM" else {}
    model = transformer(task, config=SMALL | changes)
    ids = torch.randint(5, 300, (3, 7))
    labels = torch.tensor([0, 1, 1]) if task == "SequenceClassification" else ids
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels)
    assert output.loss.ndim == 0
    assert output.logits.shape == ((3, 2) if labels.ndim == 1 else (3, 7, 300))


def test_a_folder_gives_its_weights_and_a_new_head(tmp_path: Path, caplog: Any) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    caplog.set_level("INFO")
    loaded = transformer(folder=tmp_path, num_labels=4)
    assert "are new: classifier.bias, classifier.weight" in caplog.text
    assert torch.equal(loaded.bert.pooler.dense.weight, model.bert.pooler.dense.weight)
    assert loaded.classifier.out_features == 4


def test_a_folder_runs_no_code(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for changes in ({}, {"model_type": "evil"}, {"_attn_implementation": "someone/kernel"}):
        file.write_text(json.dumps(config | changes))
        with contextlib.suppress(UserError):  # it is refused, or read as the known type
            transformer(folder=tmp_path)
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": None}, "folder: is missing"),
        ({"config": {"model_type": "bertt"}}, "transformers has no 'bertt' .did you mean 'bert'"),
        ({"config": SMALL | {"hidden_sise": 3}}, "takes no 'hidden_sise' .did you mean 'hidden_si"),
        ({"config": SMALL | {"hidden_size": 17}}, "hidden size .17. is not a multiple"),
        ({"config": {"model_type": "clip"}}, "cannot make clip as a model for SequenceClass"),
        ({"config": SMALL, "task": "CausalLM"}, "a bert sees the tokens .* add is_decoder: true"),
        ({"config": None, "folder": Path("nowhere")}, "nowhere: there is no such folder"),
        ({"config": None, "folder": Path("model")}, "model: has no config.json"),
        (
            {"config": SMALL, "lora": Lora(target_modules=["querry"])},
            "'querry' .did you mean 'query'",
        ),
    ],
)
def test_a_wrong_argument_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        transformer(num_labels=2, **options)
    assert "\n" not in str(error.value)


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="weights are read from safetensors only"):
        transformer(folder=tmp_path)


def test_blocks_are_layers_however_large_the_embedding_is() -> None:
    layers = [names[0] for names in get_layers(make_model())]
    assert [name.partition(".attention")[0] for name in layers] == [
        "bert.embeddings.word_embeddings.weight",
        "bert.encoder.layer.0",
        "bert.encoder.layer.1",
        "bert.pooler.dense.weight",
        "classifier.weight",
    ]


@pytest.mark.parametrize(
    ("changes", "data", "message"),
    [
        ({"vocab_size": 280}, {}, "the tokenizer has 300 tokens, and the model embeds 280"),
        ({"max_position_embeddings": 20}, {}, "the model takes 20 of them; give the dataset max_l"),
        ({}, {"classes": ["bad", "good", "ugly"]}, "3 classes, and the model predicts 2"),
        ({"pad_token_id": 1}, {}, "pads with the token 0, but the model expects 1; .*_id: 0"),
        ({}, {"target": "number", "label": "text"}, "are numbers, and the model predicts 2 class"),
    ],
)
def test_data_that_the_model_cannot_take_are_an_error(tmp_path, changes, data, message) -> None:
    file = write_reviews(tmp_path / "train.csv")
    if "target" in data:
        file.write_text("text\n1.5\n2\n")
    loader = TextDataLoader(make_dataset(file, **data), 8)
    model = transformer(config=SMALL | changes, num_labels=2)
    with pytest.raises(UserError, match=message):
        infer_shapes(ConfigParser(make_config(tmp_path)), model, loader)


def test_texts_of_other_data_that_are_too_long_are_an_error_too(tmp_path: Path) -> None:
    """They would end a run in its first validation, or a test."""
    short = make_dataset(write_reviews(tmp_path / "train.csv"), max_length=20)
    loaders = (
        TextDataLoader(short, 8),
        {"all": TextDataLoader(make_dataset(tmp_path / "train.csv"))},
    )
    model = transformer(config=SMALL | {"max_position_embeddings": 20}, num_labels=2)
    infer_shapes(ConfigParser(make_config(tmp_path)), model, loaders[0])
    with pytest.raises(UserError, match=r"valid_data_loader.all: a text has .* max_length: 20"):
        infer_shapes(ConfigParser(make_config(tmp_path)), model, *loaders)
    config = make_config(tmp_path)
    config["arch"]["args"]["config"]["max_position_embeddings"] = 20
    for section in ("data_loader", "test_data_loader"):
        config[section] = copy.deepcopy(config["data_loader"])
    config["data_loader"]["args"]["dataset"]["args"]["max_length"] = 20
    trainer = make_trainer(config)
    trainer.train()
    short.tokenizer.save_pretrained(trainer.checkpoint_dir / "tokenizer")
    tested = ConfigParser(config, resume=trainer.checkpoint_dir / "checkpoint-epoch1.pt")
    tested.check(SCHEMA)
    with pytest.raises(UserError, match=r"test_data_loader: a text has .* max_length: 20"):
        load_subject(tested)


def test_what_is_odd_but_possible_is_one_warning(tmp_path: Path, caplog: Any) -> None:
    """More classes than the data have, and adapters on random weights that stay so."""
    loader = TextDataLoader(make_dataset(write_reviews(tmp_path / "train.csv")), 8)
    config = ConfigParser(make_config(tmp_path))
    make_model(num_labels=2).save_pretrained(tmp_path / "start")
    infer_shapes(config, transformer(folder=tmp_path / "start", lora=Lora()), loader)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    infer_shapes(config, make_model(num_labels=3, lora=Lora()), loader)
    assert "the model predicts 3 classes, and the data have 2" in caplog.text
    assert "lora: the frozen weights are random" in caplog.text


def test_a_classifier_finds_the_end_of_a_text_without_a_padding_token(tmp_path: Path) -> None:
    """GPT-2 and Llama have none. The logits must not depend on the other texts of a batch."""
    sizes = {"vocab_size": 300, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40}
    config = {"model_type": "gpt2", "eos_token_id": [3, 4], "pad_token_id": None} | sizes
    transformer("CausalLM", config=config).save_pretrained(tmp_path)
    model = transformer(folder=tmp_path, num_labels=2).eval()
    assert model.config.pad_token_id == 3
    padded = model(input_ids=torch.tensor([[7, 8, 3, 3], [5, 6, 7, 8]])).logits[0]
    torch.testing.assert_close(padded, model(input_ids=torch.tensor([[7, 8]])).logits[0])


def test_tensors_of_a_folder_that_the_model_lacks_are_logged(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level("INFO")
    transformer("MaskedLM", config=SMALL).save_pretrained(tmp_path)
    transformer(folder=tmp_path, config={"num_hidden_layers": 1}, num_labels=2)
    assert "the model has none of 21 others: bert.encoder.layer.1.attention" in caplog.text
    caplog.clear()
    transformer(folder=tmp_path, config={"hidden_size": 32}, num_labels=2)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_only_adapters_and_the_head_are_trained_with_lora(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config["arch"]["args"]["lora"] = {"r": 4}
    trainer = make_trainer(config)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    changed = {
        name
        for name, value in trainer.model.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert changed
    assert all("lora_" in name or "classifier" in name for name in changed)


def test_a_head_of_two_layers_is_trained_in_full_with_lora() -> None:
    config = {"model_type": "distilbert", "dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 16}
    model = transformer(config=config | {"vocab_size": 300}, num_labels=2, lora=Lora(r=2))
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    heads = [name for name in names if "classifier" in name]
    assert len(heads) == 4  # weight and bias of `pre_classifier` and `classifier`
    assert not any("lora_" in name for name in heads)
    assert any("q_lin.lora_A" in name for name in names)


@pytest.mark.parametrize("lora", [None, {"r": 4}])
def test_the_model_of_a_run_is_the_start_of_another(tmp_path, monkeypatch, lora) -> None:
    config = make_config(tmp_path)
    config["arch"]["args"]["lora"] = lora
    trainer = make_trainer(config)
    trainer.train()
    folder = tmp_path / "exported"
    monkeypatch.setattr("sys.argv", ["text", str(trainer.checkpoint_dir), str(folder)])
    main()
    model = transformer(folder=folder).eval()
    assert model.config.id2label == {0: "bad", 1: "good"}
    batch = next(iter(trainer.valid_data_loader))
    trainer.model.eval()
    with torch.no_grad():
        expected, found = trainer.model(**batch).logits, model(**batch).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    second = make_config(tmp_path)
    second["arch"]["args"] = {"folder": str(folder)}
    second["transfer"] = {"freeze": "bert.embeddings", "layer_decay": 0.5}
    make_trainer(second).train()


def test_a_run_that_has_kept_its_adapters_only_is_written_too(tmp_path, monkeypatch) -> None:
    make_model().save_pretrained(tmp_path / "start")
    config = make_config(tmp_path, save="trainable")
    config["arch"]["args"] = {"folder": str(tmp_path / "start"), "lora": {"r": 4}}
    trainer = make_trainer(config)
    trainer.train()
    names = load(trainer.checkpoint_dir / "checkpoint-epoch1.pt")["state_dict"]
    assert all("lora_" in name or "classifier" in name for name in names)
    folder = tmp_path / "exported"
    monkeypatch.setattr("sys.argv", ["text", str(trainer.checkpoint_dir), str(folder)])
    main()
    batch = next(iter(trainer.valid_data_loader))
    with torch.no_grad():
        expected = trainer.model.eval()(**batch).logits
        found = transformer(folder=folder).eval()(**batch).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_loss_in_the_config_gives_the_loss_of_the_model(tmp_path: Path) -> None:
    losses = []
    for loss in (None, "cross_entropy"):
        config = make_config(tmp_path) | ({} if loss is None else {"loss": loss})
        trainer = make_trainer(config)
        trainer.train()
        losses.append(load(trainer.checkpoint_dir / "checkpoint-epoch1.pt")["state_dict"])
    for one, two in zip(losses[0].values(), losses[1].values(), strict=True):
        torch.testing.assert_close(one, two)
