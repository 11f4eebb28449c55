"""Keeps ranks in step that read different numbers of batches of a stream."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from utils.distributed import all_gather, process_group, rank, world_size
from utils.errors import UserError
from utils.messages import pack


class Round(NamedTuple):
    """One batch of all ranks.

    Attributes:
        of_ranks: the sizes of the ranks' parts, in samples or items; 0 if a rank has no batch
            any more.
    """

    of_ranks: list[int]

    @property
    def total(self) -> int:
        """The number of samples of all ranks; 0 at the end of the pass."""
        return sum(self.of_ranks)

    @property
    def loss_weight(self) -> float:
        """The size of this rank's part, divided by the mean size of all parts."""
        return world_size() * self.of_ranks[rank()] / self.total


def exchange_sizes(size: int) -> Round:
    """Tells the other ranks the size of this rank's next batch. All ranks must call it together."""
    import torch
    import torch.distributed as dist

    sizes = torch.zeros(world_size(), dtype=torch.int64)
    sizes[rank()] = size
    dist.all_reduce(sizes, group=process_group())
    return Round(sizes.tolist())


def send_filler(content: Any, sizes: list[int]) -> Any:
    """Gives every rank the batch of the first rank that has one.

    A rank that has read all of its stream trains on it with a ``loss_weight`` of 0. It takes the
    batch of another rank, and not its own last one, because a resumed run must have the same one.
    """
    import torch.distributed as dist

    source = next(index for index, size in enumerate(sizes) if size)
    values = [pack(content) if rank() == source else b""]
    dist.broadcast_object_list(values, src=source, group=process_group())
    return content if rank() == source else pickle.loads(values[0])


def check_same_stream(digest: int | None, name: str, key: str) -> None:
    """Checks that all ranks read the same samples, of which each keeps its own.

    Args:
        digest: of this rank's first samples; None if it has none.
        name: of the class of the dataset.
        key: the section of the config, for the error.

    Raises:
        UserError: they do not.
    """
    if len(set(all_gather(digest))) > 1:
        raise UserError(
            f"the processes read different samples of {name}, so each cannot keep its own. If it "
            "divides its samples among the processes itself, give stream_sharding: dataset. "
            "Otherwise its order must depend on the seed and set_epoch only",
            key=key,
        )
