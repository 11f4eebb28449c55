"""What a project takes from the framework: the same bytes each time, and no dead link."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.helpers import ROOT, copy_project
from tests.test_shipped_configs import SHIPPED
from utils.errors import UserError
from utils.project.compose import compose
from utils.project.needs import find_needs
from utils.project.readmes import (
    list_anchors,
    remove_links,
    remove_mentions,
    remove_rows,
    remove_sections,
)
from utils.project.rooms import ROOMS, expand_rooms


def test_the_same_arguments_give_the_same_files_with_and_without_git(tmp_path: Path) -> None:
    archive = copy_project(tmp_path / "archive")
    (archive / "saved/run").mkdir(parents=True)
    (archive / "saved/run/model_best.pt").write_text("weights")
    (archive / "base/__pycache__").mkdir()
    (archive / "base/__pycache__/x.pyc").write_text("code")
    records = [
        compose(framework, tmp_path / name, "config/config.json", ["transfer"])
        for framework, name in ((ROOT, "a"), (ROOT, "b"), (archive, "c"))
    ]
    assert records[0] == records[1] == records[2]
    assert records[0].rooms == ["transfer", "feature-cache"]


@pytest.mark.parametrize(
    ("config", "rooms"), [*((name, "none") for name in SHIPPED), ("config.json", "all")]
)
def test_no_link_leads_nowhere(config: str, rooms: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    record = compose(ROOT, project, f"config/{config}", [rooms])
    assert f"config/{config}" in record.files
    for path in project.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[.*\]: (\S+)$", text, re.M)
        for link in links:
            name, _, heading = link.partition("#")
            target = path.parent / name if name else path
            if not link.startswith("https://"):
                assert target.exists(), f"{path}: {link}"
                content = target.read_text(encoding="utf-8") if heading else ""
                assert not heading or heading in list_anchors(content), f"{path}: {link}"


@pytest.mark.parametrize("config", ["config.json", "digits_gan.yaml", "seasonal_mlp.yaml"])
def test_the_readmes_of_the_user_s_folders_name_no_file_that_is_missing(
    config: str, tmp_path: Path
) -> None:
    compose(ROOT, tmp_path, f"config/{config}", ["none"])
    for folder in ("data_loader", "model", "trainer"):
        text = (tmp_path / folder / "README.md").read_text(encoding="utf-8")
        written = re.findall(r"Write\s`(?:\w+/)?([\w.]+)`", text)
        for path in (ROOT / folder).glob("*.py"):
            if not (tmp_path / folder / path.name).is_file() and path.name not in written:
                assert f"`{path.name}`" not in text, f"{folder}: {path.name}"
                assert not re.search(rf"^ *type: {path.stem}\.", text, re.MULTILINE), path
        assert max(map(len, text.splitlines())) <= 100


def test_a_project_of_the_first_config_says_how_to_begin(tmp_path: Path) -> None:
    compose(ROOT, tmp_path, "config/config.json", ["none"])
    model, data = (
        (tmp_path / name / "README.md").read_text(encoding="utf-8")
        for name in ("model", "data_loader")
    )
    assert "class Tiny(BaseModel):" in model
    assert "type: mlp.MLP" in data
    assert (tmp_path / "model/mlp.py").is_file()
    assert "| anything else | [your first dataset](#your-first-dataset) |" in data
    assert "data_loader/README.md" not in data


@pytest.mark.parametrize("name", ROOMS)
def test_a_project_with_one_room_names_no_module_of_another(name: str, tmp_path: Path) -> None:
    compose(ROOT, tmp_path, "config/config.json", [name])
    with (tmp_path / "pyproject.toml").open("rb") as file:
        tool = tomllib.load(file)["tool"]
    for contract in tool["importlinter"]["contracts"]:
        modules = [*contract.get("source_modules", []), *contract.get("forbidden_modules", [])]
        modules += [word for line in contract.get("layers", []) for word in line.split(" | ")]
        for module in modules:
            path = tmp_path / module.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), module


def test_an_experiment_gets_the_configs_that_its_head_and_extends_name() -> None:
    needs = find_needs(ROOT, "config/docstrings_lora.yaml")
    assert set(needs.configs) == {
        "config/docstrings_lora.yaml",
        "config/docstrings_finetune.yaml",
        "config/docstrings_transformer.yaml",
    }
    assert {"model/text.py", "model/text_checks.py", "data_loader/docstrings.py"} <= needs.files
    assert needs.extras == {"text"}
    assert needs.rooms == ["transfer", "feature-cache", "tools", "upgrades"]


def test_rooms_bring_those_that_they_need() -> None:
    assert expand_rooms(["groups"]) == ["tools", "groups"]
    assert expand_rooms(["parallel", "none"]) == ["fsdp", "sharded-checkpoints"]
    assert expand_rooms(["all"]) == list(ROOMS)
    with pytest.raises(UserError, match=r"no room 'grups' \(did you mean 'groups'\?\); there are:"):
        expand_rooms(["grups"])


def test_an_older_framework_without_templates_is_one_line(tmp_path: Path) -> None:
    framework = copy_project(tmp_path / "old", leave_out=("tests",))
    shutil.rmtree(framework / "utils/project/templates")
    with pytest.raises(UserError, match="a project needs a later version"):
        compose(framework, tmp_path / "mine", "config/config.json", [])
    assert not (tmp_path / "mine").exists()


def test_what_is_missing_goes_from_a_readme(tmp_path: Path) -> None:
    (tmp_path / "here.py").touch()
    (tmp_path / "config").mkdir()
    path = tmp_path / "README.md"
    rows = "| `here.py`, `gone.py` | both |\n| `gone.py` | gone |\n| a | b |\n"
    assert remove_rows(tmp_path, rows) == "| `here.py` | both |\n| a | b |\n"
    text = "# A\n\n## B\n\n```sh\npython train.py -c gone.yaml\n```\n\n## C\n\nText.\n"
    assert remove_sections(tmp_path, text) == "# A\n\n## C\n\nText.\n"
    text = "# A\n\n## B\n\n```yaml\ntype: gan.Gan\n```\n\n## C\n\nText.\n"
    assert remove_sections(tmp_path, text) == text
    assert remove_sections(tmp_path, text, ["trainer/gan.py"]) == "# A\n\n## C\n\nText.\n"
    text = (
        "One. `gan.py` is an\nexample. Override it, as\n`gan.py` does.\n\n| a, as `gan.py` does |"
    )
    left = "One. Override it.\n\n| a |"
    assert remove_mentions(text, ["trainer/gan.py"], with_folder=False) == left
    assert remove_mentions(text, ["trainer/gan.py"], with_folder=True) == text
    text = "[x](here.py), [y](gone.py), [z], [w][z]\n\n[z]: gone.md\n"
    assert remove_links(tmp_path, path, text) == "[x](here.py), y, z, w\n\n"
    text = "One.\n\nAll is in [y](gone.py).\n\n| a | [y](gone.py) |\n| b | c [y](gone.py) |\n"
    assert remove_links(tmp_path, path, text) == "One.\n\n| b | c y |\n"
