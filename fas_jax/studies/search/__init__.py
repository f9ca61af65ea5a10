"""Random search over algorithms and hyper-parameters on the sources alone."""
