"""Transfer learning: what is frozen stays, what is thawed moves, and what a config says wrong is told."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
import torchvision
from torch import nn

from base.transfer import freezing
from base.transfer.freezing import Audit, freeze, frozen_tensors, layers_of, select
from base.transfer.options import Head, ParamGroup, Thaw, TransferOptions
from base.transfer.transfer import Transfer, output_layer
from tests.base.test_resume import full_and_resumed
from tests.helpers import copy_project, differences, load, make_trainer, run, small_config
from utils.errors import UserError

FAMILIES = {
    "resnet18": "fc",
    "vgg11": "classifier.6",
    "squeezenet1_0": "classifier.1",
    "mobilenet_v2": "classifier.1",
    "mobilenet_v3_small": "classifier.3",
    "efficientnet_b0": "classifier.1",
    "vit_b_16": "heads.head",
    "convnext_tiny": "classifier.2",
    "swin_t": "head",
}


def transfer(model: nn.Module, **options) -> Transfer:
    """The section applied to a model, and what it then is."""
    made = Transfer(TransferOptions(**options), logging.getLogger("transfer"))
    made.prepare(model, fresh=True)
    return made


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3)),
    )


def steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, shape: tuple[int, ...], n: int = 2
) -> None:
    for _ in range(n):
        model.train()
        optimizer.zero_grad()
        output = model(torch.randn(shape))
        nn.functional.cross_entropy(output, torch.zeros(len(output), dtype=torch.int64)).backward()
        optimizer.step()


# -- heads and freezing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gets_a_head_and_what_is_frozen_keeps_its_bits(family):
    size = 64 if family != "vit_b_16" else 32
    model = getattr(torchvision.models, family)(
        **({"image_size": size} if family == "vit_b_16" else {})
    )
    made = transfer(model, head=Head(num_classes=2), freeze="all_but_head")
    assert made.head == FAMILIES[family]
    before = {name: value.clone() for name, value in frozen_tensors(model).items()}
    assert len(before) == len(model.state_dict()) - 2  # the head's weight and bias
    optimizer = torch.optim.AdamW(made.parameters(model, 0.01), lr=0.01, weight_decay=0.1)
    head = model.get_submodule(made.head).weight.clone()
    steps(model, optimizer, (2, 3, size, size))
    assert model(torch.randn(2, 3, size, size)).shape == (2, 2)
    assert not torch.equal(model.get_submodule(made.head).weight, head)
    assert not [
        name
        for name, value in frozen_tensors(model).items()
        if not torch.equal(value, before[name])
    ]
    assert {id(p) for p in optimizer.state} == {
        id(p) for p in model.get_submodule(made.head).parameters()
    }


def test_a_convolution_as_head_keeps_its_geometry():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 3, stride=2, padding=1, bias=False))
    transfer(model, head=Head(7))
    assert model[1].weight.shape == (7, 8, 3, 3)
    assert (model[1].stride, model[1].padding, model[1].bias) == ((2, 2), (1, 1), None)


def test_a_head_that_is_no_layer_is_told_with_the_nearest():
    with pytest.raises(
        UserError, match=r"transfer.head.name: 'clasifier.1' .*did you mean 'classifier.1'"
    ):
        output_layer(torchvision.models.squeezenet1_0(), "clasifier.1")
    with pytest.raises(UserError, match=r"'0\.1' is no Linear or Conv2d layer"):
        output_layer(small_net(), "0.1")
    with pytest.raises(UserError, match="has no Linear or Conv2d layer"):
        output_layer(nn.Flatten())


def test_patterns_take_and_take_back():
    model = small_net()
    assert select(model, ["0.*", "!0.1.*"], "k") == {"0.0.weight", "0.0.bias"}
    assert select(model, "1", "k") == {"1.0.weight", "1.0.bias"}
    assert select(model, ["!0.1.*", "*.bias"], "k") == {
        "0.0.bias",
        "0.1.bias",
        "1.0.bias",
        "2.3.bias",
    }
    with pytest.raises(UserError, match=r"k\.1: 'featurs.\*' matches no parameter"):
        select(model, ["0.*", "featurs.*"], "k")


def test_frozen_norms_and_dropout_stay_in_eval_mode():
    model = small_net()
    transfer(model, freeze=["0.*", "1.*"])
    model.train()
    assert not any(module.training for part in (model[0], model[1]) for module in part.modules())
    assert model[2].training
    assert model[2][2].training
    model.eval()
    assert not model[2].training
    partly = small_net()
    transfer(partly, freeze=["0.*", "1.*"], frozen_eval=False)
    partly.train()
    assert [partly[0][1].training, partly[0][2].training, partly[1][1].training] == [
        False,
        True,
        False,
    ]


def test_a_norm_without_parameters_behind_trained_layers_goes_on():
    model = small_net()
    transfer(model, freeze=["1.*"])
    assert model.train()[1][1].training is False  # of a module that is frozen as a whole
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.Linear(4, 2)
    )
    transfer(model, freeze=["3.*"])
    assert model.train()[1].training


def test_a_copy_is_frozen_by_itself():
    """As an EMA is, which copies the model."""
    model = small_net()
    transfer(model, freeze=["0.*"])
    other = copy.deepcopy(model)
    freeze(model, [])
    assert model.train()[0][1].training
    assert not other.train()[0][1].training


def test_a_frozen_prefix_keeps_no_activations():
    def kept(model: nn.Module) -> int:
        sizes = []
        weights = {parameter.data_ptr() for parameter in model.parameters()}

        def pack(value):
            sizes.append(0 if value.data_ptr() in weights else value.nbytes)
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            model.train()(torch.randn(8, 1, 32, 32)).sum().backward()
        return sum(sizes)

    free, frozen = small_net(), small_net()
    transfer(frozen, freeze=["0.*", "1.*"])
    assert kept(frozen) < 0.01 * kept(free)


def test_layers_are_blocks():
    names = [layer[0] for layer in layers_of(torchvision.models.vit_b_16(image_size=32))]
    assert len(names) == 14  # the patches, 12 blocks, the head
    assert names[0] == "class_token"
    assert names[-1] == "heads.head.weight"
    assert (
        len(layers_of(torchvision.models.resnet18())) == 10
    )  # the first convolution, 8 blocks, the head
    model = small_net()
    assert [name for layer in layers_of(model) for name in layer] == [
        name for name, _ in model.named_parameters()
    ]


def test_all_but_the_last_layers():
    model = torchvision.models.resnet18()
    transfer(model, freeze=2)
    last = {name for name, _ in model.named_parameters() if name.startswith(("layer4.1.", "fc."))}
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == last
    with pytest.raises(
        UserError, match=r"transfer\.freeze: 10 freezes nothing: ResNet has 10 layers"
    ):
        transfer(torchvision.models.resnet18(), freeze=10)


def test_nothing_left_to_train_is_told():
    with pytest.raises(UserError, match=r"transfer\.freeze: freezes all 8 parameters"):
        transfer(small_net(), freeze=["*"])


# -- thawing -------------------------------------------------------------------------------------------------------

SCHEDULERS = {
    "StepLR": {"step_size": 1, "gamma": 0.5},
    "MultiStepLR": {"milestones": [1, 3], "gamma": 0.5},
    "ConstantLR": {"factor": 0.5, "total_iters": 2},
    "LinearLR": {"total_iters": 3},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 4},
    "CosineAnnealingLR": {"T_max": 4},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "ReduceLROnPlateau": {"patience": 0, "factor": 0.5},
    "OneCycleLR": {"max_lr": 0.05, "total_steps": 36},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.05, "step_size_up": 5},
}


def thawing(tmp_path, **more):
    config = small_config(tmp_path, epochs=4, monitor="min val_loss", ema_decay=0.9)
    config["optimizer"] = {
        "type": "SGD",
        "args": {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.01},
    }
    config["transfer"] = {
        "head": {"num_classes": 10},
        "freeze": "all_but_head",
        "thaw": [{"epoch": 3, "params": ["features.3.*", "features.4.*"], "lr_scale": 0.1}],
    }
    return config | more


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_thawed_group_follows_every_schedule_at_its_scale(tmp_path, name):
    config = thawing(tmp_path, lr_scheduler={"type": name, "args": SCHEDULERS[name]})
    rates: list[list[float]] = []
    trainer = make_trainer(config)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    plain = trainer._train_epoch

    def watched(epoch):
        log = plain(epoch)
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        state = trainer.model.state_dict()
        assert torch.equal(state["features.3.weight"], before["features.3.weight"]) == (epoch < 3)
        assert torch.equal(state["features.4.running_mean"], before["features.4.running_mean"]) == (
            epoch < 3
        )
        return log

    trainer._train_epoch = watched
    trainer.train()
    assert torch.equal(trainer.model.features[0].weight, before["features.0.weight"])
    assert {round(min(pair) / max(pair), 6) for pair in rates if max(pair) > 0} == {0.1}
    single = make_trainer(
        {**config, "transfer": {"freeze": config["transfer"]["freeze"]}}, "single"
    )
    single.train()
    assert len(single.optimizer.param_groups) == 1
    if name != "ReduceLROnPlateau":  # which looks at the results
        assert max(rates[-1]) == pytest.approx(single.optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("after", [1, 2, 3])
def test_resuming_before_at_and_after_a_phase_gives_the_same_bits(tmp_path, after):
    config = thawing(tmp_path, lr_scheduler={"type": "CosineAnnealingLR", "args": {"T_max": 4}})
    full, resumed, _, _ = full_and_resumed(tmp_path, config, after)
    assert differences(full, resumed) == []


def test_another_thawing_starts_the_optimizer_anew(tmp_path, caplog):
    config = thawing(tmp_path)
    make_trainer(config).train()
    config["transfer"] = {**config["transfer"], "thaw": None}
    config["trainer"] |= {"epochs": 5}
    with caplog.at_level(logging.WARNING):
        make_trainer(config, resume=tmp_path / "small/run/checkpoint-epoch4.pt").train()
    assert "the optimizer starts anew" in caplog.text


def test_a_phase_that_thaws_nothing_is_told():
    with pytest.raises(
        UserError, match=r"transfer.thaw.0.params: all of 2.\* is trained already by then"
    ):
        transfer(small_net(), freeze=["0.*"], thaw=[Thaw(2, "2.*")])


# -- groups --------------------------------------------------------------------------------------------------------


def group_of(groups, parameter):
    found = [group for group in groups if any(p is parameter for p in group["params"])]
    assert len(found) == 1
    return {key: value for key, value in found[0].items() if key != "params"}


def test_each_parameter_is_in_one_group_with_its_own_rates():
    model = small_net()
    own = [ParamGroup("0.*", lr_scale=0.1), ParamGroup(["1.*"], lr=0.5, weight_decay=0.3)]
    groups = transfer(model, param_groups=own, no_decay="norm_and_bias").parameters(model, 0.01)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert group_of(groups, model[0][0].weight) == {"lr": pytest.approx(0.001)}
    assert group_of(groups, model[0][1].weight) == {"lr": pytest.approx(0.001), "weight_decay": 0.0}
    assert group_of(groups, model[1][0].bias) == {"lr": 0.5, "weight_decay": 0.3}
    assert group_of(groups, model[2][3].weight) == {}
    assert group_of(groups, model[2][3].bias) == {"weight_decay": 0.0}


def test_layer_decay():
    model = small_net()
    groups = transfer(model, layer_decay=0.5).parameters(model, 0.01)
    rates = [
        group_of(groups, p).get("lr", 0.01)
        for p in (model[0][0].weight, model[1][0].weight, model[2][3].weight)
    ]
    assert rates == pytest.approx([0.0025, 0.005, 0.01])


def test_a_parameter_in_two_groups_is_told():
    model = small_net()
    own = [ParamGroup("0.*", lr_scale=0.1), ParamGroup("*.bias", lr_scale=2)]
    with pytest.raises(
        UserError, match=r"transfer.param_groups.1.params: takes '0.0.bias', which group 0 has"
    ):
        transfer(model, param_groups=own).parameters(model, 0.01)


def test_without_options_the_optimizer_gets_plain_parameters():
    model = small_net()
    assert [id(p) for p in transfer(model).parameters(model, None)] == [
        id(p) for p in model.parameters()
    ]


# -- the audit -----------------------------------------------------------------------------------------------------


def test_what_is_frozen_and_changes_is_an_error():
    model = small_net()
    transfer(model, freeze=["0.*"])
    audit = Audit(model)
    steps(model, torch.optim.SGD(model.parameters(), 0.1), (2, 1, 8, 8))
    audit.look(model, logging.getLogger("audit"))
    audit = Audit(model)
    model[0][1].running_mean.add_(1)
    with pytest.raises(
        UserError, match=r"transfer.freeze: 0\.1\.running_mean changed in a step although frozen"
    ):
        audit.look(model, logging.getLogger("audit"))


def test_the_loop_finds_it(tmp_path, monkeypatch):
    """With the eval mode of frozen norms taken out, their statistics move."""
    monkeypatch.setattr(
        freezing, "MethodType", lambda _function, module: type(module).train.__get__(module)
    )
    trainer = make_trainer(thawing(tmp_path))
    with pytest.raises(UserError, match="changed in a step although frozen"):
        trainer.train()


def test_a_trained_parameter_without_a_gradient_is_told(caplog):
    model = small_net()
    model.unused = nn.Linear(2, 2)
    model.forward = lambda x: model[2](model[1](model[0](x)))
    transfer(model, freeze=["0.*"])
    audit = Audit(model)
    steps(model, torch.optim.SGD(model.parameters(), 0.1), (2, 1, 8, 8), 1)
    audit.look(model, logging.getLogger("audit"))
    assert (
        "2 trained parameters got no gradient in the first step: unused.bias, unused.weight"
        in caplog.text
    )


# -- shown on digits -----------------------------------------------------------------------------------------------

LOADER = """
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from base.data.sampler import split_indices


class Loader(BaseDataLoader):
    def __init__(self, low: int, high: int, per_class: int = 0, batch_size: int = 32):
        x, y = load_digits(return_X_y=True)
        chosen = (y >= low) & (y <= high)
        x, y = torch.tensor(x[chosen] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(y[chosen] - low)
        train, valid = split_indices(len(y), 0.5, labels=y)
        if per_class:
            train = [i for c in range(high - low + 1) for i in [i for i in train if y[i] == c][:per_class]]
        order = [*train, *valid]
        super().__init__(TensorDataset(x[order], y[order].long()), batch_size, sampler=range(len(train)))
        self.rest = range(len(train), len(order))

    def split_validation(self):
        return BaseDataLoader(self.dataset, 256, sampler=self.rest)
"""


def test_digits_0_to_4_help_with_5_to_9(tmp_path):
    project = copy_project(tmp_path / "project")
    (project / "data_loader/halves.py").write_text(LOADER)
    words = [
        "train.py",
        "-c",
        "config.json",
        "data_loader.type=halves.Loader",
        "trainer.monitor=max val_accuracy",
    ]
    words += [
        "metrics=[accuracy]",
        "~lr_scheduler",
        "trainer.tensorboard=false",
        "trainer.early_stop=0",
    ]

    def best(run_id, *more):
        done = run(*words, "--run-id", run_id, *more, cwd=project)
        assert done.returncode == 0, done.stderr
        return float(done.stdout.split("Best val_accuracy: ")[1].split()[0]), done.stdout

    best(
        "first", "data_loader.args={low: 0, high: 4}", "arch.args.num_classes=5", "trainer.epochs=8"
    )
    few = [
        "data_loader.args={low: 5, high: 9, per_class: 50}",
        "arch.args.num_classes=5",
        "trainer.epochs=2",
        "seed=1",
    ]
    scratch, _ = best("scratch", *few)
    moved, told = best(
        "moved", *few, "transfer={init_from: saved/digits/first, head: {num_classes: 5}}"
    )
    assert "matched       " in told
    assert "New head: classifier.2, with 5 outputs." in told
    assert moved > scratch
    tested = run("test.py", "-r", "saved/digits/moved", cwd=project)
    assert tested.returncode == 0, tested.stderr
    state = load(project / "saved/digits/moved/model_best.pt")
    assert state["config"]["transfer"]["init_from"] == "saved/digits/first"
