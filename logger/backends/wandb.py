"""Weights & Biases as a back end of the writer: methods as SummaryWriter's, onto one run of theirs."""

from __future__ import annotations

import contextlib
import html
import json
import netrc
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

WATCH_BATCHES = 100  # between the histograms of `watch`


class WandbRun:
    """One run, which a resumed training continues: its id is kept in ``wandb.json``, and nothing is told twice.

    Args:
        folder: of ``wandb.json`` and of W&B's own files.
        config: the resolved config.
        options: project, mode, entity, group, tags.
        resumed: whether to go on with the run of ``wandb.json``.

    Raises:
        RuntimeError: online without a key; a login prompt would wait for ever in a script.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], options: dict[str, Any], resumed: bool
    ) -> None:
        import wandb

        if options["mode"] == "online" and not _has_key():
            raise RuntimeError(
                "there is no API key: run `wandb login`, or set trainer.wandb.mode to offline"
            )
        self._wandb, self._path = wandb, folder / "wandb.json"
        state: dict[str, Any] = {}
        if resumed:
            with contextlib.suppress(OSError, ValueError):
                state = json.loads(self._path.read_text(encoding="utf-8"))
        self._id = str(state.get("id") or secrets.token_hex(4))
        self._told: dict[str, int] = dict(state.get("steps", {}))  # the last step of every tag
        self._before = dict(self._told)
        self._row: dict[str, Any] = {}
        self._remember()
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
        pixels = np.asarray(image)
        pixels = pixels if dataformats in ("HWC", "HW") else np.moveaxis(pixels, 0, -1)
        if pixels.dtype != np.uint8:
            pixels = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
        self._log(
            tag, step, self._wandb.Image(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        )

    def add_images(self, tag: str, images: Any, step: int) -> None:
        self.add_image(tag, np.concatenate(list(np.asarray(images)), axis=-1), step)

    def add_histogram(self, tag: str, values: Any, step: int, **_: Any) -> None:
        counts = np.histogram(np.asarray(values, dtype=np.float64), bins=64)
        self._log(tag, step, self._wandb.Histogram(np_histogram=counts))

    def add_figure(self, tag: str, figure: Any, step: int, **_: Any) -> None:
        self._log(tag, step, self._wandb.Image(figure))

    def add_text(self, tag: str, text: str, step: int) -> None:
        self._log(tag, step, self._wandb.Html(f"<pre>{html.escape(text)}</pre>"))

    def add_hparams(self, hparams: dict[str, Any], metrics: dict[str, Any], **_: Any) -> None:
        self._run.summary.update(metrics)  # the hyperparameters are in the run's config

    def add_artifact(self, path: Path) -> None:
        self.flush()  # what the run has told goes before what may take long
        artifact = self._wandb.Artifact(f"model-{self._id}", type="model")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def watch(self, model: Any, what: Any) -> None:
        self._run.watch(model, log=what, log_freq=WATCH_BATCHES)

    def close(self) -> None:
        self.flush()
        self._run.finish()

    def _log(self, tag: str, step: int, value: Any) -> None:
        if step <= self._before.get(tag, -1):
            return  # told before the training was stopped, and come to again
        if self._row.get("step", step) != step or tag in self._row:
            self.flush()
        self._row |= {"step": step, tag: value}
        self._told[tag] = step

    def flush(self) -> None:
        if self._row:
            self._remember()  # first: after a crash in between a value is missing, and none is there twice
            self._run.log(self._row)
            self._row = {}

    def _remember(self) -> None:
        self._path.write_text(json.dumps({"id": self._id, "steps": self._told}), encoding="utf-8")


def _has_key() -> bool:
    """Whether W&B will find a key where it looks for one, and need not ask."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False
