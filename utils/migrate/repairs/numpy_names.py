"""Names that NumPy took away (np.float and np.object in 1.24, np.Inf and np.NaN in 2.0), with their old meaning.

To be rid of it: write the names on the right in your code, then delete this file and its line in base/__init__.py.
"""

import numpy as np

NAMES = {
    "float": float, "int": int, "bool": bool, "object": object, "complex": complex, "str": str, "long": int,
    "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "string_": np.bytes_,
    "Inf": np.inf, "Infinity": np.inf, "infty": np.inf, "PINF": np.inf, "NINF": -np.inf, "NaN": np.nan, "NAN": np.nan,
    "product": np.prod, "cumproduct": np.cumprod, "alltrue": np.all, "sometrue": np.any, "row_stack": np.vstack,
    "asfarray": lambda a, dtype=float: np.asarray(a, dtype=dtype), "in1d": np.isin, "trapz": np.trapezoid,
    "round_": np.round, "msort": lambda a: np.sort(a, axis=0),
}  # fmt: skip
for name, meaning in NAMES.items():
    if name not in vars(np):
        setattr(np, name, meaning)
