"""Reporting: results as tables, plots and one page."""
