"""A search for the best settings: trials, each of them a run, in a journal that all workers share."""
