-- What attempts used at a provider, by the day on which they ended (UTC): what costs are computed from. A fold of the log.
-- Each partition counts into rows of its own.
CREATE TABLE projections.provider_usage (
    provider  text NOT NULL,
    model     text NOT NULL,
    day       date NOT NULL,
    partition smallint NOT NULL,
    runs      bigint NOT NULL,                      -- attempts that had started, however they ended
    images    bigint NOT NULL,
    run_ms    bigint NOT NULL,                      -- from start to end, of all runs
    PRIMARY KEY (provider, model, day, partition)
) WITH (fillfactor = 70);
