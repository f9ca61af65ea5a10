"""What waiting is worth to a detector that judges a video while it runs."""
