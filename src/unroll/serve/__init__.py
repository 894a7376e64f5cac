"""A model behind HTTP: predictions in batches, text as it is written, and a page to try both."""
