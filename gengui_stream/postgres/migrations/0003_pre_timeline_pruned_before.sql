-- Set by the retention of the timeline: rows of the generation appended before this moment were removed.
ALTER TABLE projections.generation_states ADD COLUMN timeline_pruned_before timestamptz;
