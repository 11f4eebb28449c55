"""The error of a metric: its name, its arguments and the line of code that failed."""

from __future__ import annotations

from typing import Any, NoReturn

from config.check.project import locate_in_project
from utils.describe import describe_values
from utils.errors import UserError, is_out_of_memory, name_error


def blame_metric(
    error: Exception, name: str, output: Any, target: Any, key: str = "metrics"
) -> NoReturn:
    """Raises a UserError that names the metric, its arguments and the line of the project.

    Args:
        error: of the metric.
        name: under which the metric is logged.
        output, target: its arguments.
        key: of the config.
    """
    if isinstance(error, UserError) or is_out_of_memory(error):
        raise error
    found = f"output {describe_values(output)} and target {describe_values(target)}"
    reason = f"{name_error(error)}{locate_in_project(error)}"
    raise UserError(f"the metric '{name}' failed on {found}: {reason}", key=key) from error
