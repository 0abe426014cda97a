"""Cohorts: which cases there are, where results go, what was recorded, and their execution on Dask."""
