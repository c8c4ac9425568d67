"""HTTP as the API speaks it: parsing, problem documents, responses, the resources it shows."""
