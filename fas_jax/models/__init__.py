"""Networks only: pure functions of parameters and inputs, and readers of published weights."""
