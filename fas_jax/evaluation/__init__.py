"""Evaluation: scores, thresholds, rates, intervals and results; numpy only, no device."""
