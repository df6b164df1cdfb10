"""Data, not code: models, datasets, suites, prompts, recipes and published numbers as YAML."""
