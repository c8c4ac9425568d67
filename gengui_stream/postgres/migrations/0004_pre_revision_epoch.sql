-- The epoch of the last owner that heeds `parked_revision`. Owners of the release before do not know the column: it stays
-- below `owner_epoch`, and a retry of a dead letter then fences the owner, as that release does itself.
ALTER TABLE projections.checkpoints ADD COLUMN revision_epoch bigint NOT NULL DEFAULT 0;
