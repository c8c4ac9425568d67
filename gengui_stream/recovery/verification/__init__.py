"""The comparison of the projections with a plain fold of the log, in bounded memory."""
