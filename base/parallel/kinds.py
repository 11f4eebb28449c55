"""The strategies that ``parallel.type`` may name: one line each."""

from base.parallel.data_parallel import DataParallel as dp
from base.parallel.ddp import DDP as ddp
from base.parallel.fsdp import FSDP as fsdp
from base.parallel.strategy import NoParallel as none
