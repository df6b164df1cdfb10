"""What a whole pipeline costs for a number of rows: bytes, seconds, memory and money, before anything is there."""
