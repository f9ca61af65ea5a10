"""What does a score really use? Shortcuts in the data, controls of a model, and the published protocol beside ours."""
