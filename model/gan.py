"""A generative adversarial network for very small images."""

from __future__ import annotations

import torch
from torch import nn

from base import BaseModel


class GAN(BaseModel):
    """A generator and a discriminator, trained by ``trainer/gan.py``.

    ``forward`` takes noise (N, latent_size) and returns images (N, pixels) in [0, 1].
    ``discriminator`` takes images (N, pixels) and returns the logits (N, 1) that they are real.
    Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.
    """

    def __init__(self, latent_size: int = 16, pixels: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.generator = nn.Sequential(
            nn.Linear(latent_size, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, pixels),
            nn.Sigmoid(),
        )
        self.discriminator = nn.Sequential(
            nn.Linear(pixels, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.generator(noise)
        return images
