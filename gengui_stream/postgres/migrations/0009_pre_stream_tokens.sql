-- For browsers, whose EventSource sends no Authorization header: a token of some minutes stands for the key that made it.
CREATE TABLE accounts.stream_tokens (
    token_hash bytea PRIMARY KEY,
    key_id     text NOT NULL,                       -- revoked with it
    expires_at timestamptz NOT NULL
);
CREATE INDEX stream_tokens_by_expiry ON accounts.stream_tokens (expires_at);
