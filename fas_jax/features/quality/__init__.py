"""Image quality measures on native pixels: pure functions of frames of one size. `measures` puts them together."""
