"""The rows of the table of architectures, a module for each family; none loads torch."""
