"""An aligned model in use: stored aligned embeddings, search among them, labels; images and strings in."""
