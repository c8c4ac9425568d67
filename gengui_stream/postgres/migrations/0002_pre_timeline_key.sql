-- An offset is a place of one partition: a foreign producer may have put an event of the same generation on another.
ALTER TABLE timeline DROP CONSTRAINT timeline_pkey, ADD PRIMARY KEY (generation_id, log_offset, partition);
