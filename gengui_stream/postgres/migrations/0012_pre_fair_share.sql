-- Fair share: the jobs of one queue are claimed by `start_tag`, which alternates between owners.
ALTER TABLE jobs.jobs
    ADD COLUMN owner_id  uuid,                      -- of dispatch jobs; null: made by a release before this column
    ADD COLUMN start_tag bigint NOT NULL DEFAULT 0; -- of dispatch jobs, as in start-time fair queueing
