"""The stages of the pipeline; they meet in the store and never import each other."""
