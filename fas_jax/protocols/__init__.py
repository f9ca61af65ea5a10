"""Who trains, validates and is tested, as data. Imports no JAX."""
