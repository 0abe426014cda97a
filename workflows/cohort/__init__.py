"""The cohort run, its status, its report and the BIDS App."""
