"""Every shipped experiment trains two batches, on small files in the format of its data."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import struct

import numpy as np
import pytest
import torch
import torchvision
from torchvision import transforms
from torchvision.datasets import CIFAR10, MNIST

from base.schema import SCHEMA
from config import ConfigParser
from config.read.merge import load_tree
from data_loader import docstrings
from data_loader.data_loaders import MnistDataLoader
from data_loader.tokenizer import NewTokenizer, train_tokenizer
from model.contrastive import SimCLR
from model.model import SmallConvNet
from model.resnet import ResNet
from model.text import transformer
from tests.helpers import ROOT, load, make_trainer
from utils.errors import UserError

SHIPPED = (
    "breast_cancer_mlp.yaml",
    "cifar10_resnet20.yaml",
    "config.json",
    "diabetes_mlp.yaml",
    "digits_distill.yaml",
    "digits_gan.yaml",
    "digits_probe.yaml",
    "digits_simclr.yaml",
    "docstrings_finetune.yaml",
    "docstrings_lora.yaml",
    "docstrings_transformer.yaml",
    "mnist_lenet.json",
    "seasonal_mlp.yaml",
    "shapes_detector.yaml",
    "shapes_unet.yaml",
    "transfer_ants_bees.yaml",
)
CONFIGS = [ROOT / "config" / name for name in SHIPPED]  # not those that a user has added


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A folder with the data of all experiments, and the weights that they download."""
    random = np.random.default_rng(0)
    write_mnist(tmp_path / "MNIST" / "raw", random)
    write_cifar10(tmp_path / CIFAR10.base_folder, random, monkeypatch)
    write_photographs(tmp_path)
    weights = tmp_path / "hub" / "checkpoints" / "squeezenet1_0-b66bff10.pth"
    weights.parent.mkdir(parents=True)
    torch.save(torchvision.models.squeezenet1_0().state_dict(), weights)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    write_run(tmp_path / "teacher", ROOT / "config" / "config.json", SmallConvNet())
    encoder = ResNet(blocks=1, in_channels=1, width=8)
    write_run(tmp_path / "views", ROOT / "config" / "digits_simclr.yaml", SimCLR(encoder))
    monkeypatch.setattr(docstrings, "LIBRARIES", {"torch": ("optim",), "sklearn": ("cluster",)})
    docstrings._collect.cache_clear()
    return tmp_path


def write_run(folder, config, model):
    """The folder of a run with untrained weights, from which others start."""
    folder.mkdir()
    torch.save({"state_dict": model.state_dict()}, folder / "model_best.pt")
    (folder / "config.json").write_text(json.dumps(load_tree(config).data))


def write_mnist(folder, random):
    """400 + 100 random images in MNIST's files."""
    folder.mkdir(parents=True)
    for split, count in (("train", 400), ("t10k", 100)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = struct.pack(">IIII", 2051, count, 28, 28)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = random.integers(0, 10, count, dtype=np.uint8)
        head = struct.pack(">II", 2049, count)
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def write_cifar10(folder, random, monkeypatch):
    """400 + 100 random images in CIFAR-10's files, whose checksums torchvision gets."""
    folder.mkdir()

    def write(name: str, content: object) -> tuple[str, str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return name, hashlib.md5(data).hexdigest()

    def make_images(count: int) -> dict[str, object]:
        images = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        return {"data": images, "labels": random.integers(0, 10, count).tolist()}

    train = [write(f"data_batch_{number}", make_images(80)) for number in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", make_images(100))])
    name, md5 = write("batches.meta", {"label_names": [str(label) for label in range(10)]})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})


def write_photographs(folder):
    """24 random JPEGs in the folders of PhotoDataLoader."""
    for split in ("train", "val"):
        for kind in ("ants", "bees"):
            (folder / split / kind).mkdir(parents=True)
            for index in range(6):
                image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
                torchvision.io.write_jpeg(image, str(folder / split / kind / f"{index}.jpg"))


def write_language_model(folder):
    """A small BERT with its tokenizer, in HuggingFace's form."""
    model = {"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2, "vocab_size": 300}
    model |= {"num_hidden_layers": 2, "max_position_embeddings": 64}
    transformer(config=model, num_labels=5).save_pretrained(folder)
    train_tokenizer(NewTokenizer(300), ["a text"]).save_pretrained(folder)


def shrink(path, data_dir):
    """Returns the config with its data in ``data_dir`` and epochs of two batches."""
    data = load_tree(path).data
    if path.name.startswith("docstrings"):
        pytest.importorskip("transformers")
        write_language_model(data_dir / "docstrings_model")
    data["n_gpu"] = 0
    data["trainer"] |= {"epochs": 1, "save_dir": str(data_dir / "saved"), "len_epoch": 2}
    if "data_dir" in data:
        data["data_dir"] = str(data_dir)
    for section, key, run in (
        ("trainer", "teacher", "teacher"),
        ("transfer", "init_from", "views"),
    ):
        if key in data.get(section, {}):
            data[section][key] = str(data_dir / run)
    data["trainer"].pop("warmup", None)  # longer than two batches
    if "folder" in data:
        data["folder"] = str(data_dir / "docstrings_model")
    if "data_dir" in data["data_loader"]["args"]:
        data["data_loader"]["args"]["data_dir"] = str(data_dir)
    return data


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_experiment_trains_two_batches(path, data_dir):
    config = shrink(path, data_dir)
    trainer = make_trainer(config)
    trainer.train()
    state = load(trainer.checkpoint_dir / "checkpoint-epoch1.pt")
    line = json.loads((trainer.checkpoint_dir / "log" / "metrics.jsonl").read_text())
    assert state["config"]["name"] == path.stem or path.stem == "config"
    assert line["epoch"] == 1
    assert all(value is not None for value in line.values())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_head_of_a_config_gives_its_command_and_what_to_expect(path):
    text = path.read_text(encoding="utf-8")
    head = (
        json.loads(text)["description"] if path.suffix == ".json" else text.partition("\nname:")[0]
    )
    assert f"python train.py -c {path.name}" in head
    assert "xpect" in head


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_resolved_config_can_be_used_again(path, data_dir):
    resolved = ConfigParser(shrink(path, data_dir)).plain()
    again = data_dir / "again.json"
    again.write_text(json.dumps(resolved))
    parser = ConfigParser(load_tree(again))
    parser.check(SCHEMA)
    assert parser.plain() == resolved


def test_gzipped_files_of_mnist_may_be_put_there_by_hand(data_dir):
    """This is the advice of the message when there is no network."""
    raw = data_dir / "MNIST" / "raw"
    resources = []
    for name, _ in MNIST.resources:
        plain = raw / name.removesuffix(".gz")
        (raw / name).write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
        resources.append((name, hashlib.md5((raw / name).read_bytes()).hexdigest()))
        plain.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MNIST, "resources", resources)
        assert MnistDataLoader(str(data_dir), 32).n_samples == 400


def test_mnist_is_normalised_to_the_last_bit_as_the_template_does(data_dir):
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    images, targets = next(iter(MnistDataLoader(str(data_dir), 32, shuffle=False)))
    pairs = [MNIST(data_dir, transform=steps)[index] for index in range(32)]
    assert torch.equal(images, torch.stack([image for image, _ in pairs]))
    assert targets.tolist() == [target for _, target in pairs]


def test_without_a_network_the_error_names_the_files_and_their_folder(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(MNIST, "download", no_network)
    with pytest.raises(
        UserError, match=r"put train-images-idx3-ubyte.gz, .* into .*MNIST/raw \(no network\)"
    ):
        MnistDataLoader(str(tmp_path / "data"), 32)
    assert not (tmp_path / "data").exists()
