"""Reporting: results as tables, charts and one page."""
