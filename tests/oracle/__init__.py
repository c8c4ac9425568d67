"""An oracle that shares no code with the system: it reads the log, the tables, the API and the images as an outsider
does, interprets the events by rules of its own, and names each anomaly. It imports nothing of the packages under test
(`tests/unit/oracle/test_independence.py`)."""
