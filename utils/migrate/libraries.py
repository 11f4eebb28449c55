"""Finds the libraries that a new project must install beside those of Plainloop."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache

from utils.migrate.fingerprints import TEMPLATE_FOLDERS
from utils.migrate.needed_repairs import walk_kept_code
from utils.migrate.plainloop import ROOT
from utils.migrate.project import File, Project

# Maps modules to the names under which pip installs them.
PIP_NAMES = {
    "Bio": "biopython",
    "Crypto": "pycryptodome",
    "IPython": "ipython",
    "Levenshtein": "levenshtein",
    "MeCab": "mecab-python3",
    "OpenEXR": "openexr",
    "OpenGL": "pyopengl",
    "PIL": "pillow",
    "attr": "attrs",
    "box": "python-box",
    "bs4": "beautifulsoup4",
    "community": "python-louvain",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "efficientnet_pytorch": "efficientnet-pytorch",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "git": "gitpython",
    "hydra": "hydra-core",
    "ignite": "pytorch-ignite",
    "jwt": "pyjwt",
    "mpl_toolkits": "matplotlib",
    "osgeo": "gdal",
    "pl_bolts": "lightning-bolts",
    "pytorch_lightning": "pytorch-lightning",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "sentence_transformers": "sentence-transformers",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "skvideo": "sk-video",
    "tensorboardX": "tensorboardx",
    "torch_geometric": "torch-geometric",
    "umap": "umap-learn",
    "wx": "wxpython",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}


def find_other_libraries(project: Project, files: list[File]) -> list[str]:
    """Returns pip's names of what some files import and the new project does not install.

    Imports that may fail, in ``try``, and imports that the new files do not have are left out.
    """
    project_modules = {
        part
        for path in (*project.files, *project.failures)
        for part in path.removesuffix(".py").split("/")
    }
    imported = {module for file in files for module in _list_imports(project, file)}
    plainloop_files = {path.name for path in ROOT.iterdir()}
    known = project_modules | plainloop_files | {"repairs", "config", *TEMPLATE_FOLDERS}
    known |= {part for path in list_submodules(project) for part in path.split("/")}
    unknown = imported - known - set(sys.stdlib_module_names)
    names = {PIP_NAMES.get(module, module) for module in unknown}
    return sorted(names - set(list_dependencies()))


def list_submodules(project: Project) -> list[str]:
    """Returns the paths of the project's git submodules, fetched or not."""
    listing = project.folder / ".gitmodules"
    if not listing.is_file():
        return []
    text = listing.read_text(encoding="utf-8", errors="replace")
    return re.findall(r"^\s*path\s*=\s*(.+?)/?\s*$", text, flags=re.MULTILINE)


@cache
def list_dependencies() -> list[str]:
    """Returns pip's names of what Plainloop's pyproject.toml installs."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [re.split(r"[<>=!~\[; ]", item)[0] for item in settings["project"]["dependencies"]]


def _list_imports(project: Project, file: File) -> Iterator[str]:
    optional: set[int] = set()
    nodes = list(walk_kept_code(file))
    for node in nodes:
        if isinstance(node, ast.Try) and any(map(_catches_missing, node.handlers)):
            optional |= {id(part) for statement in node.body for part in ast.walk(statement)}
    dropped = {id(node) for node in list_unused_imports(project, file)}
    for node in nodes:
        if id(node) in optional | dropped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _catches_missing(handler: ast.ExceptHandler) -> bool:
    caught = "" if handler.type is None else ast.unparse(handler.type)
    return handler.type is None or any(
        name in caught for name in ("ImportError", "ModuleNotFoundError", "Exception")
    )


def list_unused_imports(project: Project, file: File) -> list[ast.stmt]:
    """Returns the imports at the top of a file that only its replaced code used.

    Only those of libraries that the new project does not install: without them it would not
    start. An import stays if any other code of the project uses the name, since the file may
    export it.
    """
    replaced = [item for item in file.definitions if item.is_replaced]
    before = {name for item in replaced for name in item.uses.names}
    lines = [node.lineno for node in file.tree.body]
    found: list[ast.stmt] = []
    for node in file.tree.body:
        if not before or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if len(node.names) > 1 or lines.count(node.lineno) > 1 or node.names[0].name == "*":
            continue
        module = node.names[0].name if isinstance(node, ast.Import) else node.module or "."
        library = module.split(".")[0]
        is_installed = PIP_NAMES.get(library, library) in list_dependencies()
        is_local = not library or library in sys.stdlib_module_names or library in TEMPLATE_FOLDERS
        name = (node.names[0].asname or node.names[0].name).split(".")[0]
        is_foreign = not is_installed and not is_local
        if is_foreign and name in before and not _is_used(project, file, name):
            found.append(node)
    return found


def _is_used(project: Project, file: File, name: str) -> bool:
    """Whether kept code of the file, or of another one without this import, uses a name."""
    for other in project.kept_files:
        nodes = list(walk_kept_code(other))
        imports = (node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))
        aliases = [alias for node in imports for alias in node.names]
        imports_it = any((alias.asname or alias.name.split(".")[0]) == name for alias in aliases)
        if other is not file and imports_it:
            continue
        for node in nodes:
            if isinstance(node, ast.Name) and node.id == name:
                return True
            if isinstance(node, ast.Attribute) and node.attr == name:
                return True
            if isinstance(node, ast.Constant) and node.value == name:  # in __all__
                return True
    return False
