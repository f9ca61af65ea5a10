"""Studies whether a verdict over experts helps, what it learns from, and what a cascade of its experts costs."""
