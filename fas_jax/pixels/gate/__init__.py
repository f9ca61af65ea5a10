"""The gate before a verdict: whether a clip shows one face well enough, and what the person should do if not."""
