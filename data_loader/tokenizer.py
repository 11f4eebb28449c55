"""The tokenizer of a run: from the folder of a model, or trained by the run and kept with it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line
from utils.optional import TEXT, import_optional, import_transformers
from utils.options import find_too_small, raise_problems
from utils.run_files import find_kept, keep

FOLDER = "tokenizer"  # of a run
FACTS = "training.json"  # in it: how the tokenizer was trained
MIN_WORDS = 2  # of a tokenizer; one without files knows special tokens, and perhaps a space
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


@dataclass(frozen=True)
class NewTokenizer:
    """A tokenizer that the run trains: byte-level BPE, which knows every text.

    Its special tokens are ``[PAD]``, ``[UNK]``, ``[CLS]``, ``[SEP]`` and ``[MASK]``, with the
    numbers 0 to 4. A text becomes ``[CLS] … [SEP]``. Source: Radford et al. 2019, GPT-2.

    Attributes:
        vocab_size: the largest number of tokens, of which the bytes and special tokens are 261.
        source: the CSV file, the folder or the text file with the texts to train on. Name the
            training data, also for validation and test data.
        lowercase: whether capital letters become small ones.
        min_frequency: how often two tokens must follow each other to become one.
    """

    vocab_size: int
    source: Path | None = None
    lowercase: bool = False
    min_frequency: int = 2

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, vocab_size=261, min_frequency=1))


def get_tokenizer(given: Path | NewTokenizer | None, texts: Callable[[], Iterable[str]]) -> Any:
    """Returns the tokenizer of the current run.

    A resumed or tested run has the tokenizer that it has kept, whatever the texts are now.

    Args:
        given: the folder of a HuggingFace model, or how to train a new tokenizer.
        texts: gives the texts to train on.

    Raises:
        UserError: there is no tokenizer, a library is missing, or the run has kept another one.
    """
    kept = find_kept(FOLDER)
    if isinstance(given, NewTokenizer):
        facts = {key: value for key, value in asdict(given).items() if key != "source"}
        if kept is not None:
            _check_facts(kept, facts)
            return load_tokenizer(kept)
        tokenizer = train_tokenizer(given, texts())
    else:
        tokenizer = None
        if given is not None and (kept is None or given.is_dir()):
            tokenizer = load_tokenizer(given)
        if kept is not None:
            return _check_same(load_tokenizer(kept), tokenizer, given, kept)
        if tokenizer is None:
            message = "is missing; give the folder of a model, or {vocab_size: 8000, source: FILE}"
            raise UserError(message, key="tokenizer")
        facts = {}

    def write(folder: Path) -> None:
        tokenizer.save_pretrained(str(folder))
        (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")

    keep(FOLDER, write)
    return tokenizer


def _check_facts(kept: Path, facts: dict[str, Any]) -> None:
    """Raises UserError if the kept tokenizer was trained with other settings."""
    try:
        earlier = json.loads((kept / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = {}
    for key, value in facts.items():
        if earlier.get(key, value) != value:
            message = f"{value}, but the tokenizer of this run in {kept} has {earlier[key]}"
            raise UserError(f"{message}; a run has one tokenizer", key=f"tokenizer.{key}")


def _check_same(kept: Any, given: Any, source: Path | None, folder: Path) -> Any:
    """Returns ``kept``; raises UserError if another one was given."""
    if given is not None and get_vocabulary_hash(kept) != get_vocabulary_hash(given):
        message = f"{source} has another vocabulary than the tokenizer of this run, in {folder}"
        raise UserError(f"{message}; give that folder", key="tokenizer")
    return kept


def get_vocabulary_hash(tokenizer: Any) -> str:
    """A number that two tokenizers share only if their tokens have the same numbers."""
    pairs = sorted(tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def load_tokenizer(folder: Path) -> Any:
    """Loads a tokenizer from a folder. No code of the folder runs, and nothing is downloaded.

    Raises:
        UserError: the folder has no tokenizer, or a damaged one.
    """
    transformers = import_transformers()
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder", key="tokenizer")
    advice = "give a folder with tokenizer.json, as save_pretrained writes it"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the libraries raise anything for damaged files
        message = f"{folder}: holds no tokenizer that can be read ({advice}): {one_line(error)}"
        raise UserError(message, key="tokenizer") from None
    words = {*tokenizer.get_vocab().values()} - {*tokenizer.all_special_ids}
    if len(words) < MIN_WORDS:  # the library makes one for a folder that has none
        raise UserError(f"{folder}: holds no tokenizer; {advice}", key="tokenizer")
    return tokenizer


def train_tokenizer(options: NewTokenizer, texts: Iterable[str]) -> Any:
    """Trains a tokenizer. The same texts give the same one.

    The library's WordPiece is not offered, because it depends on the order of a hash table.
    """
    tokenizers, transformers = import_optional("tokenizers", TEXT), import_transformers()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    if options.lowercase:
        tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=options.vocab_size,
        min_frequency=options.min_frequency,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    count = tokenizer.get_vocab_size()
    logging.getLogger("data_loader").info("A tokenizer with %d tokens was trained.", count)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="[CLS]",
        eos_token="[SEP]",
        **SPECIAL,
    )
