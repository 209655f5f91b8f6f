"""Trace each answer back to the documents that state it: retrieval, judges, density, recovery of planted truth."""
