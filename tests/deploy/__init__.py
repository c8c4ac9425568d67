"""The compose file and the image, as far as they can be checked without a container engine."""
