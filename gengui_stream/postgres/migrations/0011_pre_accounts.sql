-- Accounts of people: passwords, sessions, e-mail, API keys with scopes, limits, and what was done to an account.
ALTER TABLE accounts.users
    ADD COLUMN user_name         text,              -- null: made by an operator
    ADD COLUMN password_hash     text,              -- argon2id, in the PHC string format; null: no log-in by password
    ADD COLUMN email_verified_at timestamptz,
    ADD COLUMN preferences       text,              -- JSON; null: none
    ADD COLUMN daily_limit       int,               -- generations; null: that of the role
    ADD COLUMN in_progress_limit int,               -- generations that have not ended; null: that of the role
    ADD COLUMN delete_after      timestamptz,       -- the user asked for its deletion
    ADD COLUMN deleted_at        timestamptz;       -- the row stays, without a name: others refer to it
-- Two users whose addresses differ in case alone fail this migration: an operator renames one of them first.
CREATE UNIQUE INDEX users_by_email ON accounts.users (lower(email));
CREATE UNIQUE INDEX users_by_name ON accounts.users (lower(user_name));
CREATE INDEX users_by_creation ON accounts.users (created_at DESC, user_id DESC);
CREATE INDEX users_to_delete ON accounts.users (delete_after) WHERE delete_after IS NOT NULL AND deleted_at IS NULL;

ALTER TABLE accounts.api_keys
    ADD COLUMN name         text NOT NULL DEFAULT '',
    ADD COLUMN scopes       text[],                 -- null: all that the role of the user allows
    ADD COLUMN expires_at   timestamptz,            -- null: never
    ADD COLUMN last_used_at timestamptz;            -- within minutes
CREATE INDEX api_keys_by_user ON accounts.api_keys (user_id);
CREATE INDEX api_keys_by_end ON accounts.api_keys (least(revoked_at, expires_at));

CREATE TABLE accounts.sessions (
    token_hash   bytea PRIMARY KEY,                 -- SHA-256 of the cookie's 32 random bytes
    session_id   uuid NOT NULL UNIQUE,              -- its name in lists; of no use to log in
    user_id      uuid NOT NULL REFERENCES accounts.users,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(), -- within minutes
    expires_at   timestamptz NOT NULL,
    address      text NOT NULL,
    user_agent   text NOT NULL
);
CREATE INDEX sessions_by_user ON accounts.sessions (user_id);
CREATE INDEX sessions_by_expiry ON accounts.sessions (expires_at);

-- Sent by e-mail, used once: the use of one ends the others of the same user and purpose.
CREATE TABLE accounts.one_time_tokens (
    token_hash bytea PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES accounts.users,
    purpose    text NOT NULL,
    email      text NOT NULL,                       -- the address that it was sent to
    expires_at timestamptz NOT NULL,
    email_id   uuid                                 -- of accounts.emails
);
CREATE INDEX one_time_tokens_by_user ON accounts.one_time_tokens (user_id, purpose);
CREATE INDEX one_time_tokens_by_expiry ON accounts.one_time_tokens (expires_at);

-- E-mails to be sent. A row has no secret: the token of a link is made when the e-mail is sent, and again at each try.
CREATE TABLE accounts.emails (
    email_id     uuid PRIMARY KEY,
    kind         text NOT NULL,
    user_id      uuid,                              -- null: of an address without an account; nothing is sent
    recipient    text NOT NULL,
    language     text NOT NULL DEFAULT 'en',
    created_at   timestamptz NOT NULL DEFAULT now(),
    available_at timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    lease_owner  text,
    tries        int NOT NULL DEFAULT 0,
    refusals     int NOT NULL DEFAULT 0,            -- tries that the server refused for good
    failed_at    timestamptz,                       -- refused too often: kept, and not tried again by itself
    last_error   text
) WITH (fillfactor = 70);
CREATE INDEX emails_due ON accounts.emails (available_at, email_id) WHERE failed_at IS NULL;
CREATE INDEX emails_by_user ON accounts.emails (user_id);

-- Failed log-ins. A row is forgotten some time after its last failure.
CREATE TABLE accounts.login_failures (
    login_hash bytea NOT NULL,                      -- SHA-256 of the name or address as given: it may belong to no
                                                    -- account; empty for all together
    network    text NOT NULL,                       -- of the client: an IPv4 address, or the /64 of an IPv6 address;
                                                    -- '' for all together
    failures   int NOT NULL DEFAULT 0,
    first_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (login_hash, network)
) WITH (fillfactor = 70);
CREATE INDEX login_failures_by_age ON accounts.login_failures (last_at);

-- Networks from which a user has logged in: log-ins from there go on while many others guess the password.
CREATE TABLE accounts.login_networks (
    user_id uuid NOT NULL REFERENCES accounts.users,
    network text NOT NULL,
    last_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, network)
);
CREATE INDEX login_networks_by_age ON accounts.login_networks (last_at);

-- Names that were asked for at a sign-up, also at one with an address that has an account: whether such a name is taken
-- must not tell whether the address was known.
CREATE TABLE accounts.reserved_names (
    name    text PRIMARY KEY,                       -- in lower case
    user_id uuid NOT NULL REFERENCES accounts.users -- of the address: this user may take it
);

-- What a user has requested on the latest day (UTC) with a request, and which generations have not ended. One row a
-- user, so that its lock orders the requests of one user over all processes.
CREATE TABLE accounts.daily_usage (
    user_id uuid PRIMARY KEY,
    day     date NOT NULL,
    used    int NOT NULL,
    open    uuid[] NOT NULL                         -- those that have ended are removed by the next request
) WITH (fillfactor = 50);

-- Security events and the acts of admins, for `GET /v1/admin/audit`. Those of operators are in operations.actions.
CREATE TABLE accounts.audit_events (
    event_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    type        text NOT NULL,                      -- in the past tense, such as 'login.failed'
    actor_id    uuid,                               -- null: not known
    subject_id  uuid,                               -- the user that it was done to
    address     text NOT NULL,
    request_id  text NOT NULL,
    detail      text NOT NULL                       -- JSON, without secrets
);
CREATE INDEX audit_events_by_subject ON accounts.audit_events (subject_id, event_id);
CREATE INDEX audit_events_by_type ON accounts.audit_events (type, event_id);
