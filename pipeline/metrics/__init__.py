"""How answers are scored: metrics with their intervals and chance levels, and comparisons of aligners and seeds."""
