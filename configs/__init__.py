"""Settings that ship with the package: MONAI bundle configs and training recipes."""
