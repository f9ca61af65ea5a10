"""The feature stage: prepared frames to features, and the store that keeps them."""
