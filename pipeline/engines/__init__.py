"""Engines: ways to execute a network on batches of one shape."""
