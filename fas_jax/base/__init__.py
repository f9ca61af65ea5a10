"""What all other rooms use: errors, files, settings and their keys, parameters, records of videos. Imports no JAX."""
