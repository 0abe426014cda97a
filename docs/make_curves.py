"""Draws docs/learning_curves.png of docs/curves: how the shipped weights learnt.

A file ``NAME.csv`` has the columns ``step`` and ``gain``, taken from the ``curve.csv`` of the run
that made the weights of that name.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from finevox.workflows.evaluation.figures import learning_curves

FOLDER = Path(__file__).parent
FIGURE = FOLDER / "learning_curves.png"


if __name__ == "__main__":
    curves = {path.stem: pd.read_csv(path) for path in sorted((FOLDER / "curves").glob("*.csv"))}
    learning_curves(curves, FIGURE)
    sys.stdout.write(f"{FIGURE}\n")
