"""Training: many runs side by side in one program, from clips to fitted parameters."""
