"""Transfer between languages: gaps between arms, transferred items, power and intervals."""
