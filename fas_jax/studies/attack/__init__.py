"""Adversarial frames against detectors, and their detection by the entropy of what the network responds to."""
