"""The partition processor: decodes and folds records, and commits the read models with the checkpoint in one
transaction. It is independent of faust."""
