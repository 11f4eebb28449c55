"""The paths of the Plainloop modules that this room uses. No other file here names them.

The repairs import what they change from here. When a repair is copied into a project, such an
import becomes the line that this file has for the name. The tool itself reads this file as a table
and imports the names marked "tool" when it needs them (see ../plainloop.py). mypy checks the paths.
"""

from base import base_data_loader as base_data_loader  # template_order: BaseDataLoader
from base import loaders as loaders  # template_order: must be imported before the repair
from base.checkpoint import template as template  # safe_load: adds safe globals
from base.loop import metrics as metrics  # batch_means: MetricSet.count_samples
from base.loop import progress as progress  # ties: is_better
from base.loop import speedups as speedups  # plain_optimizer: choose_fused
from base.schema import SCHEMA as SCHEMA  # tool
from config.check.preflight import check_plain_values as check_plain_values  # tool
from config.parser import ConfigParser as ConfigParser  # tool
from config.read.merge import load_tree as load_tree  # tool
from utils.distributed import world_size as world_size  # template_order
from utils.errors import UserError as UserError  # template_order
