"""Frozen parameters and statistics keep their bits, and the audit finds those that do not."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn

from base.transfer.freezing import Audit, freeze
from tests.base.transfer.models import LOGGER, prepare, small_net, thawing_config, train_steps
from tests.helpers import make_trainer
from utils.errors import UserError


def test_frozen_norms_and_dropout_stay_in_eval_mode():
    model = small_net()
    prepare(model, freeze=["0.*", "1.*"])
    model.train()
    assert not any(module.training for top in (model[0], model[1]) for module in top.modules())
    assert model[2].training
    assert model[2][2].training
    model.eval()
    assert not model[2].training


def test_without_frozen_eval_only_norms_stay_in_eval_mode():
    model = small_net()
    prepare(model, freeze=["0.*", "1.*"], frozen_eval=False)
    model.train()
    assert not model[0][1].training
    assert model[0][2].training
    assert not model[1][1].training


def test_a_norm_without_parameters_behind_trained_layers_keeps_training():
    model = small_net()
    prepare(model, freeze=["1.*"])
    assert model.train()[1][1].training is False  # all parameters of its module are frozen
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.Linear(4, 2)
    )
    prepare(model, freeze=["3.*"])
    assert model.train()[1].training


def test_a_copy_stays_frozen_when_the_original_is_thawed():
    """An EMA copies the model."""
    model = small_net()
    prepare(model, freeze=["0.*"])
    other = copy.deepcopy(model)
    freeze(model, [])
    assert model.train()[0][1].training
    assert not other.train()[0][1].training


def test_a_pickled_model_trains_as_its_class_does():
    model = small_net()
    prepare(model, freeze=["0.*"])
    assert pickle.loads(pickle.dumps(model)).train()[0][1].training


def test_a_frozen_prefix_stores_no_activations():
    def stored_bytes(model: nn.Module) -> int:
        sizes = []
        weights = {parameter.data_ptr() for parameter in model.parameters()}

        def pack(value):
            sizes.append(0 if value.data_ptr() in weights else value.nbytes)
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            model.train()(torch.randn(8, 1, 32, 32)).sum().backward()
        return sum(sizes)

    free, frozen = small_net(), small_net()
    prepare(frozen, freeze=["0.*", "1.*"])
    assert stored_bytes(frozen) < 0.01 * stored_bytes(free)


def test_a_number_freezes_all_but_the_last_layers():
    model = torchvision.models.resnet18()
    prepare(model, freeze=2)
    last = {name for name, _ in model.named_parameters() if name.startswith(("layer4.1.", "fc."))}
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == last
    with pytest.raises(
        UserError, match=r"transfer\.freeze: 10 freezes nothing: ResNet has 10 layers"
    ):
        prepare(torchvision.models.resnet18(), freeze=10)


def test_freezing_everything_is_an_error():
    with pytest.raises(UserError, match=r"transfer\.freeze: freezes all 8 parameters"):
        prepare(small_net(), freeze=["*"])


# -- the audit -----------------------------------------------------------------------------------


def test_the_audit_finds_a_frozen_tensor_that_changed():
    model = small_net()
    prepare(model, freeze=["0.*"])
    audit = Audit(model, LOGGER)
    train_steps(model, torch.optim.SGD(model.parameters(), 0.1), (2, 1, 8, 8))
    audit.after_step()
    audit = Audit(model, LOGGER)
    model[0][1].running_mean.add_(1)
    with pytest.raises(
        UserError, match=r"transfer.freeze: 0\.1\.running_mean changed in a step although frozen"
    ):
        audit.after_step()


def test_the_loop_stops_when_a_frozen_norm_gathers_statistics(tmp_path):
    trainer = make_trainer(thawing_config(tmp_path))
    norm = next(module for module in trainer.model.modules() if isinstance(module, nn.BatchNorm2d))

    def force_training_mode(module: nn.Module, _args: object) -> None:
        module.training = True

    norm.register_forward_pre_hook(force_training_mode)
    with pytest.raises(UserError, match=r"running_mean, .* changed in a step although frozen"):
        trainer.train()


def test_the_audit_names_trained_parameters_without_a_gradient(caplog):
    model = small_net()
    model.unused = nn.Linear(2, 2)
    model.forward = lambda x: model[2](model[1](model[0](x)))
    prepare(model, freeze=["0.*"])
    audit = Audit(model, LOGGER)
    train_steps(model, torch.optim.SGD(model.parameters(), 0.1), (2, 1, 8, 8), count=1)
    audit.after_step()
    assert (
        "2 trained parameters got no gradient in the first step: unused.bias, unused.weight"
        in caplog.text
    )
