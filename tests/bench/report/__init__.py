"""The page of results: sections, conditions, quantiles and progress."""
