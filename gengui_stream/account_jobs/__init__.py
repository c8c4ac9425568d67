"""What becomes due in accounts: e-mails to be sent, accounts to be deleted, rows to be forgotten."""
