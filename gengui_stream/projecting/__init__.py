"""The partition processor: decode, fold, and commit the read models with the checkpoint in one transaction. It runs
under faust, and without it."""
