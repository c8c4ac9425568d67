-- Where the current attempt runs, which may be another place than was asked for.
ALTER TABLE generation_states
    ADD COLUMN provider_model  text,                -- null only in rows that an older process writes: the model asked for
    ADD COLUMN provider_job_id text,
    ADD COLUMN endpoint_id     text;
UPDATE generation_states s SET provider_model = r.model FROM generation_requests r
 WHERE r.generation_id = s.generation_id;

-- Whether the client named the provider itself, and so gets no other.
ALTER TABLE generation_requests ADD COLUMN provider_firm boolean NOT NULL DEFAULT true;
