"""References in YAML's flow collections: ``[${seed}, 1]``, where YAML reads ``{`` as a mapping."""

from __future__ import annotations

import re

_BRACES, _PROTECTED = "{}", "\ue000\ue001"  # of the private use area; as long, so columns stay
_REFERENCE = re.compile(r"\$\{([\w.~ -]*)\}")


def protect_references(text: str) -> str:
    """Replaces the braces of each ``${…}``, so that YAML reads a reference as plain text."""
    if any(letter in text for letter in _PROTECTED):
        return text
    braces = str.maketrans(_BRACES, _PROTECTED)
    return _REFERENCE.sub(lambda match: match[0].translate(braces), text)


def restore_references(text: str) -> str:
    """The reverse of ``protect_references``."""
    return text.translate(str.maketrans(_PROTECTED, _BRACES))
