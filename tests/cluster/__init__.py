"""A cluster of three brokers under the whole system: brokers and processes killed and paused in turn, and figures."""
