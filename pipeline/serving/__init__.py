"""A local web page for search, and the JSON API behind it: one encoder, one gallery, many requests."""
