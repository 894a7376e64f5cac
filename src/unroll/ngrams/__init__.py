"""Count experts: n-grams of ids, and how their predictions are mixed with a net's."""
