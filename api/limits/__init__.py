"""What a client may take of the service: requests, generations, waits."""
