-- The pauses that providers ask for (Retry-After), which every dispatch process keeps to.
CREATE TABLE jobs.provider_pauses (
    provider text NOT NULL,
    model    text NOT NULL,
    until    timestamptz NOT NULL,
    reason   text NOT NULL,                         -- shown to operators
    PRIMARY KEY (provider, model)
);
