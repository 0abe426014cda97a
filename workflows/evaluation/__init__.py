"""Evaluation of methods on scans: a protocol, its figures, tables and pictures."""
