"""Errors that finevox raises on purpose, so that a caller can tell them from defects.

Every class is also the built-in exception that fits, and every message says where the problem
is, what was found, what was wanted and what to do.
"""


class FinevoxError(Exception):
    """Root of all errors that finevox raises on purpose."""


class InputError(FinevoxError, ValueError):
    """A file, an image or an option that cannot be used as it is."""


class GeometryError(InputError):
    """A grid (shape and affine) that is invalid, or two grids that do not fit."""


class CheckpointError(FinevoxError, ValueError):
    """Weights that are missing, damaged, or made for another request."""


class ConfigError(FinevoxError, ValueError):
    """A configuration with unknown or contradictory settings."""


class CohortError(FinevoxError, RuntimeError):
    """A cohort run that cannot start or whose records disagree."""
