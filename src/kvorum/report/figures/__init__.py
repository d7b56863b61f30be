"""The pictures of a report: `choose` says which a run has, the others draw them."""
