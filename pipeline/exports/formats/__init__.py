"""The formats of export, one class a file."""
