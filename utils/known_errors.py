"""Errors of Python and of libraries about which a user can do something."""

from __future__ import annotations

from typing import NamedTuple


class KnownError(NamedTuple):
    """An error of a library that the user can do something about.

    Attributes:
        kind: the class of the error.
        pattern: a regular expression that its text matches.
        key: the config key that can help, or an empty text.
        advice: what to do; ``{}`` stands for the text of the error.
    """

    kind: type[Exception]
    pattern: str
    key: str
    advice: str


LOSS_TAKES_TENSORS = "{}; override Trainer.forward, which returns the output and the target"
KNOWN_ERRORS = (
    KnownError(
        RuntimeError,
        r"DataLoader worker .* (killed by signal|exited unexpectedly)",
        "",  # it may be that of any loader
        "a process that loads data was killed (out of memory?); fewer num_workers need less: {}",
    ),
    KnownError(
        RuntimeError,
        r"unable to (allocate shared memory|write to file </torch_)|[Uu]nexpected bus error",
        "data_loader",
        "/dev/shm has no space for the batches of the workers (in a container: --shm-size); fewer "
        "num_workers or smaller batches need less",
    ),
    KnownError(
        RuntimeError,
        r"^(Too many open files|received \d+ items of ancdata)",
        "data_loader",
        "{} (more are allowed after `ulimit -n 4096`; fewer num_workers need fewer)",
    ),
    KnownError(
        OSError,
        r"^\[Errno (23|24)\]",
        "",
        "{} (more are allowed after `ulimit -n 4096`; fewer num_workers need fewer)",
    ),
    KnownError(
        OSError,
        r"^\[Errno (28|30|122)\]",
        "",
        "{} (where no file is named, look at /dev/shm and at the folder of temporary files)",
    ),
    KnownError(
        RuntimeError,
        "Expected to have finished reduction in the prior iteration",
        "parallel.args.find_unused_parameters",
        "some parameters of the model do not affect the loss; set find_unused_parameters: true, "
        "or freeze them",
    ),
    KnownError(
        RuntimeError,
        "got mixed torch.Tensor and DTensor",
        "parallel.args.blocks",
        "the model uses parameters of a block without calling the block, as in `block(x)`; only a "
        "call gathers them",
    ),
    KnownError(
        IndexError,
        r"^Target -?\d+ is out of bounds",
        "loss",
        "{} The model has fewer outputs than the data has classes. A value that marks targets "
        "without a class needs the loss's option: loss.args.ignore_index",
    ),
    KnownError(
        RuntimeError,
        r"^size mismatch \(got input: .*, target: ",
        "loss",
        "the pictures and the masks have different sizes: {}",
    ),
    KnownError(
        TypeError,
        r"^\w*(loss|entropy|div)\w*\(\): argument '(input|self|target)'.*must be Tensor, not",
        "loss",
        LOSS_TAKES_TENSORS,
    ),
    KnownError(
        RuntimeError,
        "^(label_smoothing must be between|weight tensor should be defined)",
        "loss.args",
        "{}",
    ),
    KnownError(
        UserWarning,
        "^Using a target size",
        "loss",
        "{} The loss would compare every output with every target",
    ),
    KnownError(
        ValueError,
        "^(Using a t|T)arget size .* (must be the same as|that is different to)",
        "loss",
        "{} Reshape one of them, for example by target.view_as(output)",
    ),
    KnownError(
        ValueError,
        "^Expected more than 1 value per channel when training",
        "data_loader",
        "a batch norm cannot train on one sample, as in a last batch (on ranks, in a part of it): "
        "set drop_last: true, or another batch_size: {}",
    ),
    KnownError(
        RuntimeError,
        "^(element 0 of tensors does not require grad|grad can be implicitly created only)",
        "loss",
        "it has no gradient. It must be a real number that torch computes from the model's output, "
        "without detach() or item(): {}",
    ),
    KnownError(
        RuntimeError,
        "^(0D or 1D target tensor expected|only batches of spatial targets supported)",
        "loss",
        "it needs classes of shape (N,) or (N, H, W), or probabilities like the output: {}",
    ),
    KnownError(
        RuntimeError,
        "^(expected target dtype to be Long|expected scalar type Long but found)",
        "loss",
        "it needs classes of int64, for example by target.long(): {}",
    ),
    KnownError(
        ModuleNotFoundError,
        "^No module named '(torch|torchvision|tqdm|yaml|numpy)'",
        "",
        "{}, at least not for this Python. `make train` installs everything into .venv; then run "
        "`source .venv/bin/activate`",
    ),
    KnownError(
        ModuleNotFoundError,
        "pycocotools",
        "metrics",
        "MeanAveragePrecision needs pycocotools: pip install -e '.[detection]'",
    ),
    KnownError(
        RuntimeError,
        "device-side assert triggered",
        "",
        "{}; a class or an index of the data may be too large for the model: `-d cpu` shows which",
    ),
    KnownError(
        ModuleNotFoundError,
        r"^No module named 'base\.(groups|notebook|tools)",
        "",
        "{}: this project has removed this optional folder (base/README.md)",
    ),
)
