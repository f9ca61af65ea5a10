"""What everything else stands on: errors, files, settings, parameters, records of videos. Imports no JAX."""
