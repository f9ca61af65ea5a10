"""Trained methods that score files by themselves: bundles and exports."""
