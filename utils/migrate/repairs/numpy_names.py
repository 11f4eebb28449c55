"""Restores names that NumPy removed, with their old meaning.

NumPy 1.24 removed np.float and np.object, for example, and NumPy 2.0 np.Inf and np.NaN.

To remove it, write the names on the right below instead of those on the left in your code. Then
delete this file and its line in base/__init__.py.
"""

import numpy as np

NAMES = {
    "float": float,
    "int": int,
    "bool": bool,
    "object": object,
    "complex": complex,
    "str": str,
    "long": int,
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
    "string_": np.bytes_,
    "Inf": np.inf,
    "Infinity": np.inf,
    "infty": np.inf,
    "PINF": np.inf,
    "NINF": -np.inf,
    "NaN": np.nan,
    "NAN": np.nan,
    "product": np.prod,
    "cumproduct": np.cumprod,
    "alltrue": np.all,
    "sometrue": np.any,
    "row_stack": np.vstack,
    "asfarray": lambda a, dtype=float: np.asarray(a, dtype=dtype),
    "in1d": np.isin,
    "trapz": np.trapezoid,
    "round_": np.round,
    "msort": lambda a: np.sort(a, axis=0),
}
for name, meaning in NAMES.items():
    if name not in vars(np):
        setattr(np, name, meaning)
