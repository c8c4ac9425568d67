-- The names of sign-ups are released after a time, with the accounts that were never verified. The release before this one
-- writes the default, also when a user takes another name: such a former name is released, too.
ALTER TABLE accounts.reserved_names
    ADD COLUMN signed_up_at timestamptz DEFAULT now(); -- null: a former name, which its user keeps
CREATE INDEX reserved_names_by_sign_up ON accounts.reserved_names (signed_up_at) WHERE signed_up_at IS NOT NULL;
CREATE INDEX reserved_names_by_user ON accounts.reserved_names (user_id, signed_up_at);
