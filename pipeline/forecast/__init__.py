"""What more pairs would bring: a learning curve on the features that are there, and where it goes."""
