"""Metrics of classification: one class a sample, several, or a linear probe's."""
