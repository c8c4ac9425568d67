DELETE FROM idempotency_keys WHERE event IS NULL;
ALTER TABLE idempotency_keys ALTER COLUMN event SET NOT NULL, DROP COLUMN response, DROP COLUMN generation_id;
