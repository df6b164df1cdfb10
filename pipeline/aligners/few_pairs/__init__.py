"""What methods of few pairs and none compute: teachers, matchings of sets, and their training."""
