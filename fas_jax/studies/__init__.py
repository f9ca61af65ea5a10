"""Questions about data and methods: search, audit, oracle, inspection. They ship nothing."""
