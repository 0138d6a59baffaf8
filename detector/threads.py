"""One thread for each process' linear algebra.

The matrices are small and many: threads of OpenBLAS only wait for each other. Measured on the day-trade catalogue, the
first cycle takes half the CPU with one thread. Must run before numpy is imported.
"""

from __future__ import annotations

import os

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def limit_threads() -> None:
    """Ask for one thread each, where the environment does not say otherwise."""
    for name in VARIABLES:
        os.environ.setdefault(name, "1")
