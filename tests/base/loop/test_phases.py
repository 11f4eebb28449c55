"""Without an optional room all parameters are trained, always; a registered room takes over."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from base import features
from base.loop.phases import Phases, make_phases
from base.schema import SCHEMA
from base.transfer.transfer import Transfer
from config import ConfigParser
from tests.helpers import small_config

LOGGER = logging.getLogger("phases")


def test_without_a_section_nothing_changes(tmp_path):
    phases = make_phases(ConfigParser(small_config(tmp_path)), LOGGER)
    assert type(phases) is Phases
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    phases.prepare_model(model, None, resuming=False)
    phases.replace_head(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    loaders = [object(), None]
    assert phases.adapt_loaders(model, loaders, torch.device("cpu")) is loaders
    assert [id(p) for p in phases.parameter_groups(model, lr=0.1)] == [id(model.weight)]
    assert not phases.begin_epoch(1, model, None)


@pytest.mark.parametrize("section", [None, {}])
def test_an_empty_section_is_none(tmp_path, section):
    config = ConfigParser(small_config(tmp_path) | {"transfer": section})
    assert type(make_phases(config, LOGGER)) is Phases


def test_a_section_selects_the_registered_class(tmp_path, monkeypatch):
    config = ConfigParser(small_config(tmp_path) | {"transfer": {"freeze": 1}})
    config.schema = SCHEMA
    phases = make_phases(config, LOGGER)
    assert isinstance(phases, Transfer)
    assert phases.options.freeze == 1
    monkeypatch.delattr(features, "Transfer")
    assert type(make_phases(config, LOGGER)) is Phases


def test_the_register_gives_subclasses_only(monkeypatch):
    class Other(Phases):
        pass

    monkeypatch.setattr(features, "Phases", Phases, raising=False)
    monkeypatch.setattr(features, "Other", Other, raising=False)
    assert features.of_kind(Phases) == [Transfer, Other]
