"""From video files to the frames that are kept: decoding, faces. Imports no JAX: worker processes use it."""
