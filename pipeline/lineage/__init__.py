"""What in a store was made from what, by what each record says of itself."""
