"""One file a library of encoders: how its models are named, found and loaded."""
