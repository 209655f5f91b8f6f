"""Figures and tables: drawn from the tables of earlier stages, never from a model."""
