-- Raised when an operator retries or discards a dead letter: the batch of the partition's owner then finds no row, and
-- the owner loads again which generations are parked.
ALTER TABLE projections.checkpoints ADD COLUMN parked_revision bigint NOT NULL DEFAULT 0;
