"""HuggingFace's models for texts, from a local folder or with random weights.

``python -m model.text RUN FOLDER`` writes the model of a run into such a folder.
"""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from model.text_checks import check_causal, prepare_config
from utils.errors import UserError, abbreviate, did_you_mean, one_line
from utils.optional import TEXT, import_optional, import_transformers
from utils.options import find_too_small, raise_problems

Task = Literal["SequenceClassification", "TokenClassification", "CausalLM", "MaskedLM", "Seq2SeqLM"]
PEFT_TASKS = {
    "SequenceClassification": "SEQ_CLS",
    "TokenClassification": "TOKEN_CLS",
    "CausalLM": "CAUSAL_LM",
    "Seq2SeqLM": "SEQ_2_SEQ_LM",
}
HEADS = ("classifier", "score")  # the ends of the names of modules that peft trains in full
CONFIG, WEIGHTS, SHARDS = "config.json", "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters by ``peft``. The other weights are frozen, except those of a new head.

    Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685.

    Attributes:
        r: the rank.
        lora_alpha: the adapters are scaled by ``lora_alpha / r``.
        lora_dropout: the dropout probability before the adapters.
        target_modules: the names of the modules that get adapters, or ``all-linear``; null takes
            those that are usual for the type of model, or all linear ones.
        modules_to_save: the names of further modules that are trained.
        bias: which biases are trained.
        use_rslora: scale by ``lora_alpha / sqrt(r)`` instead.
        use_dora: train magnitudes too, https://arxiv.org/abs/2402.09353.
    """

    r: int = 8
    lora_alpha: float = 16
    lora_dropout: float = 0.0
    target_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    use_dora: bool = False

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, r=1, lora_dropout=0))


def transformer(
    task: Task = "SequenceClassification",
    folder: Path | None = None,
    config: dict[str, Any] | None = None,
    num_labels: int | None = None,
    lora: Lora | None = None,
    attention: Literal["eager", "sdpa", "flash_attention_2", "flex_attention"] | None = None,
) -> nn.Module:
    """A model of HuggingFace's ``transformers``, whose own names its modules have.

    Its ``forward`` takes ``input_ids`` and ``attention_mask`` (N, L), and returns ``logits``: for a
    sequence (N, num_labels), for tokens (N, L, num_labels), or (N, L, vocab_size) for language
    models. With ``labels``, as in a config without a loss, it returns a ``loss`` too.

    A folder is read without running code of it, and without a network.

    Args:
        task: what the model predicts.
        folder: with ``config.json`` and weights as safetensors, as ``save_pretrained`` writes it.
        config: ``model_type`` and the arguments of its configuration, for random weights; with a
            folder, changes of its configuration.
        num_labels: the number of classes; 1 for a number. By default, that of the folder.
        lora: trains adapters of low rank instead of the weights.
        attention: the implementation of attention; null chooses the fastest that the model has.

    Raises:
        UserError: an argument does not fit, or the folder cannot be read.
    """
    transformers = import_transformers()
    if folder is None and not (config or {}).get("model_type"):
        message = "is missing; give it, or config with a model_type, such as {model_type: bert}"
        raise UserError(message, key="folder")
    made = _make_config(transformers, folder, dict(config or {}), num_labels)
    prepare_config(made, task)
    kind = getattr(transformers, f"AutoModelFor{task}")
    options = {} if attention is None else {"attn_implementation": attention}
    try:
        if folder is None:
            model = kind.from_config(made, trust_remote_code=False, **options)
        else:
            model = _load(kind, folder, made, options)
    except UserError:
        raise
    except Exception as error:  # the library raises anything for what does not fit
        message = f"cannot make {made.model_type} as a model for {task}: {one_line(error)}"
        message = message if folder is None else f"{folder}: {message}"
        raise UserError(message, key="config" if folder is None else "folder") from None
    check_causal(model, task)
    return model if lora is None else _add_adapters(model, lora, task)


def _make_config(
    transformers: Any, folder: Path | None, config: dict[str, Any], num_labels: int | None
) -> Any:
    """Makes the configuration of a model, and checks the names in it."""
    model_type = config.pop("model_type", None)
    try:
        if folder is not None:
            _check_folder(folder)
            found = transformers.AutoConfig.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        elif model_type in transformers.CONFIG_MAPPING:
            found = transformers.CONFIG_MAPPING[model_type](pad_token_id=0)
        else:
            known = transformers.CONFIG_MAPPING.keys()
            hint = did_you_mean(model_type, known) or ", such as bert, distilbert, roberta or gpt2"
            message = f"transformers has no '{model_type}'{hint}"
            raise UserError(message, key="config.model_type")
    except UserError:
        raise
    except Exception as error:
        message = f"{folder}: {CONFIG} cannot be read: {one_line(error)}"
        raise UserError(message, key="folder") from None
    if folder is not None and model_type not in (None, found.model_type):
        message = f"{model_type}, but the model in {folder} is a {found.model_type}"
        raise UserError(message, key="config.model_type")
    if num_labels is not None and num_labels != found.num_labels:
        config["num_labels"] = num_labels
    return _change(found, config)


def _change(found: Any, changes: dict[str, Any]) -> Any:
    """Returns a configuration with changes."""
    names = [name for name in dir(found) if not name.startswith("_")]
    for name in changes:
        if name not in names:
            hint = did_you_mean(name, names)
            message = f"{type(found).__name__} takes no '{name}'{hint}"
            raise UserError(message, key=f"config.{name}")
    values = found.to_dict() | changes
    if "num_labels" in changes:
        del values["id2label"], values["label2id"]
    try:
        made = type(found)(**values)
    except Exception as error:
        raise UserError(one_line(error), key="config") from None
    return made


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder", key="folder")
    if not (folder / CONFIG).is_file():
        message = f"{folder}: has no {CONFIG}; save_pretrained writes such a folder"
        raise UserError(message, key="folder")
    if not any((folder / name).is_file() for name in (WEIGHTS, SHARDS)):
        message = f"{folder}: has no {WEIGHTS}; weights are read from safetensors only, "
        message += "as save_pretrained writes them"
        raise UserError(message, key="folder")


def _load(kind: Any, folder: Path, config: Any, options: dict[str, Any]) -> Any:
    """Loads the weights of a folder, and logs which parameters are new."""
    model, facts = kind.from_pretrained(
        str(folder),
        config=config,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **options,
    )
    new = sorted({*facts["missing_keys"], *(name for name, *_ in facts["mismatched_keys"])})
    count = len(model.state_dict())
    if len(new) >= count:
        raise UserError("none of its tensors has a name and shape of the model", key="folder")
    text = f"{count - len(new)} of {count} tensors are from {folder}"
    text += f"; {len(new)} are new: {abbreviate(new)}" if new else ""
    unused = sorted(facts["unexpected_keys"])
    text += f"; the model has none of {len(unused)} others: {abbreviate(unused)}" if unused else ""
    level = logging.WARNING if len(new) > count / 2 else logging.INFO
    logging.getLogger("train").log(level, "Start weights: %s", text)
    return model


def _add_adapters(model: Any, lora: Lora, task: Task) -> nn.Module:
    peft = import_optional("peft", TEXT)
    options = asdict(lora)
    usual = peft.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    names = [name for name, module in model.named_modules() if name and not [*module.children()]]
    if lora.target_modules is None and model.config.model_type not in usual:
        options["target_modules"] = "all-linear"
    if options["target_modules"] == "all-linear":  # a new head is trained in full, without adapters
        options["exclude_modules"] = [name for name in names if name.endswith(HEADS)]
    for target in lora.target_modules if isinstance(lora.target_modules, list) else ():
        if not any(f".{name}".endswith(f".{target}") for name in names):
            last = sorted({name.rpartition(".")[2] for name in names})
            hint = did_you_mean(target, last) or f"; there are {abbreviate(last)}"
            message = f"no module is named '{target}'{hint}"
            raise UserError(message, key="lora.target_modules")
    try:
        config = peft.LoraConfig(task_type=PEFT_TASKS.get(task), **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft explains what it corrects by itself
            adapted: nn.Module = peft.get_peft_model(model, config)
        return adapted
    except Exception as error:
        raise UserError(one_line(error), key="lora") from None


def save_pretrained(run: Path, folder: Path) -> None:
    """Writes the best model of a run, and its tokenizer, into a folder of HuggingFace's form.

    The adapters of LoRA are merged into the weights. Of averaged weights, those that the monitor
    follows are written.

    Args:
        run: the folder of the run, or a checkpoint.
        folder: gets ``config.json``, ``model.safetensors`` and the files of the tokenizer.

    Raises:
        UserError: the run has no such model, or the folder cannot be written.
    """
    import argparse
    import shutil

    from base.checkpoint.file import load
    from base.evaluation import make_trained_model
    from base.schema import SCHEMA
    from config import ConfigParser
    from utils.checkpoints import find_checkpoint

    path = find_checkpoint(run, best_first=True)
    config = ConfigParser.from_args(argparse.Namespace(config=None, resume=path, device=None))
    config.check(SCHEMA)
    checkpoint = load(path)
    model: Any = make_trained_model(config, checkpoint)[0]
    model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    if not hasattr(model, "save_pretrained"):
        raise UserError(f"{path}: a {type(model).__name__} is not a model of HuggingFace")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty")
    classes = (checkpoint.get("environment") or {}).get("classes")
    if classes and len(classes) == model.config.num_labels:
        model.config.label2id = dict(classes)
        model.config.id2label = {label: name for name, label in classes.items()}
    try:
        model.save_pretrained(str(folder))
        if (tokenizer := path.parent / "tokenizer").is_dir():
            shutil.copytree(tokenizer, folder, dirs_exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
    print(f"The model of {path} is in {folder}")


def main() -> None:
    """Runs ``python -m model.text RUN FOLDER``."""
    if len(sys.argv) != 3 or sys.argv[1].startswith("-"):
        raise UserError("usage: python -m model.text RUN FOLDER")
    save_pretrained(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    from utils.main import run_main

    run_main(main)
