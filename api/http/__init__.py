"""HTTP for the handlers: parsing, problem documents, responses and resources."""
