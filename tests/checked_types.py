"""How tests check calls against declared types and shapes."""

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

# An int may stand for a float, as static checkers have it, and NumPy's numbers for Python's.
_NUMBERS = {int: int | np.integer, float: float | int | np.floating | np.integer}
check_types = beartype(conf=BeartypeConf(hint_overrides=FrozenDict(_NUMBERS)))
