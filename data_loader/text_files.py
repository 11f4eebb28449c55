"""Reads texts from CSV files and from folders of text files."""

from __future__ import annotations

import codecs
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from data_loader.csv_table import find_delimiter
from utils.errors import UserError, abbreviate, did_you_mean, one_line

SUFFIX = ".txt"
TABLES = (".csv", ".tsv")


def read_table(
    path: Path, columns: dict[str, str], encoding: str = "utf-8"
) -> list[tuple[int, list[str]]]:
    """Reads columns of a CSV file with a header, or of a TSV file.

    Cells are divided by tabs in a .tsv file, else by commas, or by semicolons or tabs if these give
    the header more names.

    Args:
        path: of the file. A byte order mark at its start is left out.
        columns: the names of the columns, by the argument that gave each.
        encoding: of the file.

    Returns:
        For each row its line in the file, where it ends, and its values in those columns.

    Raises:
        UserError: the file is missing or damaged, or lacks a column or a value.
    """
    csv.field_size_limit(sys.maxsize)
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    rows = []
    try:
        with path.open(encoding=encoding, newline="") as file:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else find_delimiter(file)
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            names = list(reader.fieldnames or ())
            _check_columns(path, names, columns)
            for row in reader:
                if None in row or None in row.values():
                    wanted = f"{len(names)} columns"
                    raise UserError(f"{path}: line {reader.line_num}: must have {wanted}")
                rows.append((reader.line_num, [row[name] for name in columns.values()]))
    except csv.Error as error:
        line = reader.reader.line_num
        raise UserError(f"{path}: line {line}: is not valid CSV: {one_line(error)}") from None
    except (OSError, UnicodeError, LookupError) as error:
        raise _explain(path, error) from None
    if not rows:
        raise UserError(f"{path}: holds no rows below its header")
    return rows


def _check_columns(path: Path, names: list[str], columns: dict[str, str]) -> None:
    for argument, name in columns.items():
        if name not in names:
            hint = did_you_mean(name, names) or f"; its columns are {abbreviate(names)}"
            message = f"{path} has no column '{name}'{hint}" if names else f"{path} is empty"
            raise UserError(message, key=argument)
        if names.count(name) > 1:
            raise UserError(f"{path} has several columns '{name}'", key=argument)


def _explain(path: Path, error: Exception) -> UserError:
    if isinstance(error, UnicodeDecodeError):
        byte, start = error.object[error.start], error.object[:2]
        usual = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "cp1252"
        message = (
            f"byte {byte:#04x} is not {error.encoding}; convert the file, or give its encoding"
        )
        return UserError(f"{path}: {message}, such as {usual}", key="encoding")
    if isinstance(error, LookupError):
        return UserError(one_line(error), key="encoding")
    reason = error.strerror if isinstance(error, OSError) else one_line(error)
    return UserError(f"{path}: cannot be read: {reason}")


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Reads a text file, without a byte order mark.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_text(encoding=encoding).removeprefix("\ufeff")
    except (OSError, UnicodeError, LookupError) as error:
        raise _explain(path, error) from None


def list_files(folder: Path) -> list[Path]:
    """Lists the ``.txt`` files in a folder and its subfolders, sorted by path.

    Hidden files and folders are left out.

    Raises:
        UserError: there are none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    found = [path for path in folder.rglob("*") if path.suffix.lower() == SUFFIX]
    files = sorted(path for path in found if path.is_file() and not _is_hidden(path, folder))
    if not files:
        raise UserError(f"{folder}: holds no {SUFFIX} files")
    return files


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def list_empty_folders(folder: Path, known: set[str]) -> list[str]:
    """Lists the names of the subfolders that are not hidden and not in ``known``, sorted."""
    found = [path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path, folder)]
    return sorted({path.name for path in found} - known)


def iterate_texts(path: Path, column: str, encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """Yields the name of each text and the text itself.

    Args:
        path: a text file with a text in each line, of which empty ones are left out; a CSV file
            with a column of texts; or a folder of text files.
        column: of the CSV file.
        encoding: of the files.

    Raises:
        UserError: a file cannot be read, or there is no text.
    """
    if path.is_dir():
        for file in list_files(path):
            yield str(file), read_text(file, encoding)
    elif path.suffix.lower() in TABLES:
        for line, (text,) in read_table(path, {"text": column}, encoding):
            yield f"{path}:{line}", text
    else:
        lines = read_text(path, encoding).splitlines()
        if not any(map(str.strip, lines)):
            raise UserError(f"{path}: holds no text")
        for number, words in enumerate(lines, 1):
            if words.strip():
                yield f"{path}:{number}", words
