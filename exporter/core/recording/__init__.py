"""Answers of the cloud made fit to be given to others: without secrets, ids and names of people."""
