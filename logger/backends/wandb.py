"""Weights & Biases as a back end of the writer."""

from __future__ import annotations

import contextlib
import html
import json
import logging
import netrc
import os
import secrets
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from logger.backends.backend import BackEnd, RunFacts

WATCH_BATCHES = 100  # between two histograms of `watch`
HISTOGRAM_BINS = 64
INIT_OPTIONS = ("project", "mode", "entity", "group", "tags")


class WandbBackEnd(BackEnd):
    """Writes to a W&B run.

    Args:
        log_dir: the folder of ``wandb.json`` and of W&B's own files.
        config: the resolved config, for W&B's table of configs.
        options: ``trainer.wandb`` in plain values; see WandbOptions in ``base/feature_options.py``.
        is_resumed: whether to continue the W&B run of ``wandb.json``.
        logger: gets the warning of a failure.
    """

    option = "wandb"
    title = "Weights & Biases"
    module = "wandb"
    links = ("wandb/*/logs/debug-core.log",)  # points to W&B's log; a run never writes to it

    def __init__(
        self,
        log_dir: Path,
        config: dict[str, Any],
        options: dict[str, Any],
        is_resumed: bool,
        logger: logging.Logger,
    ) -> None:
        super().__init__(logger)
        self.log_dir = log_dir
        self.config = config
        self.options = options
        self.is_resumed = is_resumed

    @classmethod
    def from_run(cls, run: RunFacts, options: Any) -> WandbBackEnd | None:
        if options is None or options["mode"] == "disabled":
            return None
        return cls(run.log_dir, run.config, options, run.is_resumed, run.logger)

    def open(self) -> WandbRun:
        options = {name: self.options[name] for name in INIT_OPTIONS}
        return WandbRun(self.log_dir, self.config, options, self.is_resumed)

    def watch(self, model: Any) -> None:
        if self.options["watch"] is not None:
            self.call("watch", model, self.options["watch"])

    def add_artifact(self, path: Path) -> None:
        if self.options["artifact"]:
            self.call("add_artifact", path)


class WandbRun:
    """One W&B run, with methods named as SummaryWriter's.

    Its id and the last step of every tag are kept in ``wandb.json``. So a resumed training
    continues the same W&B run, and logs no value twice.

    Args:
        folder: of ``wandb.json`` and of W&B's own files.
        config: the resolved config.
        options: project, mode, entity, group, tags.
        is_resumed: whether to continue the run of ``wandb.json``.

    Raises:
        RuntimeError: the mode is online and there is no key. W&B would ask for one, and a script
            would wait for ever.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], options: dict[str, Any], is_resumed: bool
    ) -> None:
        import wandb

        if options["mode"] == "online" and not _has_key():
            raise RuntimeError(
                "there is no API key: run `wandb login`, or set trainer.wandb.mode to offline"
            )
        self._wandb = wandb
        self._path = folder / "wandb.json"
        state: dict[str, Any] = {}
        if is_resumed:
            with contextlib.suppress(OSError, ValueError):
                state = json.loads(self._path.read_text(encoding="utf-8"))
        self._id = str(state.get("id") or secrets.token_hex(4))
        self._last_steps: dict[str, int] = dict(state.get("steps", {}))  # by tag
        self._steps_before_resume = dict(self._last_steps)
        self._row: dict[str, Any] = {}  # the values of one step
        self._write_state()
        self._run = wandb.init(
            **options,
            id=self._id,
            resume="allow",
            dir=str(folder),
            name=f"{config['name']}/{folder.parent.name}",
            config=config,
            settings=wandb.Settings(console="off", silent=True, symlink=False),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        self._log(tag, step, float(value))

    def add_scalars(self, tag: str, values: dict[str, Any], step: int) -> None:
        for name, value in values.items():
            self._log(f"{tag}/{name}", step, float(value))

    def add_image(self, tag: str, image: Any, step: int, dataformats: str = "CHW") -> None:
        """Logs a picture: bytes, or floats in [0, 1]."""
        pixels = np.asarray(image)
        if dataformats not in ("HWC", "HW"):
            pixels = np.moveaxis(pixels, 0, -1)
        if pixels.dtype != np.uint8:
            pixels = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
        if pixels.shape[-1] == 1:
            pixels = pixels.squeeze(-1)
        self._log(tag, step, self._wandb.Image(pixels))

    def add_images(self, tag: str, images: Any, step: int) -> None:
        """Logs pictures, (N, C, H, W), side by side."""
        self.add_image(tag, np.concatenate(list(np.asarray(images)), axis=-1), step)

    def add_histogram(self, tag: str, values: Any, step: int, **_: Any) -> None:
        counts = np.histogram(np.asarray(values, dtype=np.float64), bins=HISTOGRAM_BINS)
        self._log(tag, step, self._wandb.Histogram(np_histogram=counts))

    def add_figure(self, tag: str, figure: Any, step: int, **_: Any) -> None:
        self._log(tag, step, self._wandb.Image(figure))

    def add_text(self, tag: str, text: str, step: int) -> None:
        self._log(tag, step, self._wandb.Html(f"<pre>{html.escape(text)}</pre>"))

    def add_hparams(self, hparams: dict[str, Any], metrics: dict[str, Any], **_: Any) -> None:
        """Logs the numbers. The hyperparameters are in the W&B run's config already."""
        self._run.summary.update(metrics)

    def add_artifact(self, path: Path) -> None:
        self.flush()  # an upload may take long, and the values should be there before it
        artifact = self._wandb.Artifact(f"model-{self._id}", type="model")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def watch(self, model: Any, what: Literal["gradients", "parameters", "all"]) -> None:
        """Hooks W&B onto the model: histograms every 100 batches."""
        self._run.watch(model, log=what, log_freq=WATCH_BATCHES)

    def flush(self) -> None:
        """Sends the values of the current step."""
        if self._row:
            # The state comes first: a crash in between then loses a value, but repeats none.
            self._write_state()
            self._run.log(self._row)
            self._row = {}

    def close(self) -> None:
        self.flush()
        self._run.finish()

    def _log(self, tag: str, step: int, value: Any) -> None:
        if step <= self._steps_before_resume.get(tag, -1):
            return  # logged before the training was interrupted; the resumed one repeats it
        if self._row.get("step", step) != step or tag in self._row:
            self.flush()
        self._row |= {"step": step, tag: value}
        self._last_steps[tag] = step

    def _write_state(self) -> None:
        state = {"id": self._id, "steps": self._last_steps}
        self._path.write_text(json.dumps(state), encoding="utf-8")


def _has_key() -> bool:
    """Whether W&B finds an API key in the places where it looks for one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False
