"""How a trained detector's verdicts change when the crop, the light or the picture's quality does."""
