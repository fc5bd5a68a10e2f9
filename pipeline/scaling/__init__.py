"""How many replicas a stage should have, and where actors go: decided from facts that are told."""
