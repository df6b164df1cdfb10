"""Evaluation of aligners over features in the store: what is asked, who answers, how it is judged and saved."""
