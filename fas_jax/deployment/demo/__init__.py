"""A local page to try a bundle with a camera or a file: `server` answers requests, `sessions` judges frames."""
