"""Training with two optimizers: an example of a custom loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from base.loop.evaluate import add_prefix
from base.loop.metrics import MetricSet
from base.options import TrainerOptions
from trainer.trainer import Trainer
from utils.batch import batch_size_of
from utils.distributed import world_size
from utils.errors import UserError
from utils.util import MetricTracker


class GanTrainer(Trainer):
    """Alternates a step of the discriminator and a step of the generator.

    Both optimizers come from the config: ``optimizer`` for the generator and
    ``discriminator_optimizer`` for the discriminator. Both are attributes of the trainer, so
    checkpoints include them.
    """

    def __init__(
        self,
        model: Any,
        criterion: Any,
        metric_ftns: list[Any],
        optimizer: Any,
        config: Any,
        **kwargs: Any,
    ) -> None:
        if world_size() > 1:
            raise UserError("GanTrainer trains in one process", key="trainer.type")
        # Replaces the optimizer that train.py has made for the parameters of both networks.
        optimizer = config.init_obj("optimizer", torch.optim, model.generator.parameters())
        super().__init__(model, criterion, metric_ftns, optimizer, config, **kwargs)
        self.optimizer_d = config.init_obj(
            "discriminator_optimizer", torch.optim, self.model.discriminator.parameters()
        )
        self.tracker = MetricTracker("loss_g", "loss_d")

    @classmethod
    def logged_names(
        cls, metrics: list[str], options: TrainerOptions, sets: list[str]
    ) -> list[str]:
        return ["loss_g", "loss_d", *(f"val_{prefix}frechet" for prefix in sets)]

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        self.model.train()
        if self.progress.batch == 0:  # a resumed run may continue in the middle of an epoch
            self.tracker.reset()
        for real, _ in self.batches(epoch):
            n = batch_size_of(real)
            real = real.flatten(1)
            ones = torch.ones(n, 1, device=self.device)
            zeros = torch.zeros(n, 1, device=self.device)

            fake = self.model(torch.randn(n, self.model.latent_size, device=self.device))
            # One-sided label smoothing: real images get 0.9 instead of 1.
            loss_d = self.criterion(self.model.discriminator(real), 0.9 * ones)
            loss_d = loss_d + self.criterion(self.model.discriminator(fake.detach()), zeros)
            self._step(self.optimizer_d, loss_d)

            loss_g = self.criterion(self.model.discriminator(fake), ones)
            self._step(self.optimizer, loss_g)

            self.tracker.add("loss_d", loss_d, n)
            self.tracker.add("loss_g", loss_g, n)
            self.after_step()
        return self.measure(epoch)

    def measure(self, epoch: int) -> dict[str, float]:
        log = self.tracker.result()
        if self.do_validation:
            with self.train_state.modes.evaluating():  # of schedule-free optimizers
                log |= add_prefix("val", self._valid_epoch(epoch))
        return log

    def status(self) -> str:
        loss_g, loss_d = self.tracker.avg("loss_g"), self.tracker.avg("loss_d")
        return f"loss_g {loss_g:.4f}  loss_d {loss_d:.4f}"

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    @classmethod
    @torch.no_grad()
    def evaluate_split(
        cls,
        model: Any,
        batches: Iterable[Any],
        criterion: Any,
        metrics: MetricSet,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> dict[str, float]:
        """Computes the Fréchet distance between the pixels of generated and of real images."""
        model.eval()
        metrics.reset()
        real = torch.cat([images.flatten(1) for images, _ in batches]).to(device)
        noise = torch.Generator().manual_seed(0)  # equal noise makes the epochs comparable
        fake = model(torch.randn(len(real), model.latent_size, generator=noise).to(device))
        metrics.add("frechet", frechet_distance(real, fake), len(real))
        return {"frechet": metrics.avg("frechet")}

    def _valid_epoch(self, epoch: int) -> dict[str, float]:
        log = super()._valid_epoch(epoch)
        noise = torch.Generator().manual_seed(0)
        with torch.no_grad():
            latent = torch.randn(64, self.model.latent_size, generator=noise)
            images = self.model(latent.to(self.device))
        self.writer.add_images("generated", images.view(-1, 1, 8, 8))
        return log


def frechet_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of points, (N, D) and (M, D).

    ``|mean_a - mean_b|^2 + trace(cov_a + cov_b - 2 (cov_a cov_b)^(1/2))``
    Source: Dowson and Landau 1982; as FID in Heusel et al. 2017, https://arxiv.org/abs/1706.08500.
    """
    a, b = a.double(), b.double()
    cov_a, cov_b = a.T.cov(), b.T.cov()
    root = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return float(means + cov_a.trace() + cov_b.trace() - 2 * root)
