"""The e-mails of accounts: their texts, their links, and the server that takes them."""
