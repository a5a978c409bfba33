"""What bands of MinHash rows promise: collision probabilities, thresholds, and the best shape for a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def collision_probability(jaccard: ArrayLike, bands: int, rows: int) -> NDArray[np.float64]:
    """Returns 1 - (1 - s^rows)^bands: how likely two documents of Jaccard similarity s share a band.

    Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.2. Same shape as `jaccard`.
    """
    similar = np.asarray(jaccard, np.float64)
    with np.errstate(divide="ignore"):  # the logarithm of 0, for identical documents, comes out as 1
        return np.asarray(-np.expm1(bands * np.log1p(-(similar**rows))), np.float64)


def threshold(bands: int, rows: int) -> float:
    """Returns (1 / bands)^(1 / rows): the Jaccard similarity around which the collision probability rises steepest.

    Source: Mining of Massive Datasets, section 3.4.2.
    """
    return float((1 / bands) ** (1 / rows))


def optimal_bands(
    threshold: float, permutations: int, fp_weight: float = 0.5, fn_weight: float = 0.5
) -> tuple[int, int]:
    """Returns (bands, rows) within the permutations whose weighted sum of both errors is least, as datasketch chooses.

    The error of false positives is the integral of the collision probability from 0 to the threshold, that of
    false negatives the integral of its complement from the threshold to 1. With u = s^rows the complement
    integrates to an incomplete beta function. Ties go to fewer bands, then fewer rows.
    """
    from scipy.special import beta, betainc

    shapes = np.array([(b, r) for b in range(1, permutations + 1) for r in range(1, permutations // b + 1)])
    bands, inverse = shapes[:, 0], 1 / shapes[:, 1]
    whole = inverse * beta(inverse, bands + 1)
    below = whole * betainc(inverse, bands + 1, threshold ** shapes[:, 1].astype(np.float64))
    errors = fp_weight * (threshold - below) + fn_weight * (whole - below)
    best_bands, best_rows = shapes[int(np.argmin(errors))]
    return int(best_bands), int(best_rows)
