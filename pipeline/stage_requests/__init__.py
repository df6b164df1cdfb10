"""What each stage is asked to do, as values: checked when a request is built, without torch."""
