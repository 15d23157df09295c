"""A cluster that is whole at the start of each test, and was made once for all that share it."""
