"""The command `structure`: parse, call one stage or recipe, print, exit."""
