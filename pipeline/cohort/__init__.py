"""Cohorts: what there is to do, where results go, what is recorded, and execution on Dask."""
