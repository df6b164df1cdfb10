"""Code that is copied into exported folders: each file stands alone and imports nothing of this package."""
