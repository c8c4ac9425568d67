"""What browsers need: session cookies, requests of other origins."""
