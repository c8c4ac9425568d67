"""From the bytes of a fetch to records: total, whatever the bytes are."""
