"""How good answers are: of committed results against labels, and of heads on exported sets."""
