"""What is evaluated: benchmark suites, their prompts, and the published numbers. Needs no torch."""
