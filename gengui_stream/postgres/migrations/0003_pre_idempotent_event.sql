-- The whole event is reserved under its key, so that every try appends and answers the same.
ALTER TABLE idempotency_keys ADD COLUMN event text, ALTER COLUMN generation_id DROP NOT NULL;
