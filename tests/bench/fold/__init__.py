"""The fold of this system beside two baselines."""
