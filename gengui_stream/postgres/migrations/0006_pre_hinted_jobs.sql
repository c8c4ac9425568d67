-- Somebody outside says that there is news of an attempt: its watch looks at once, however lately it was heard of.
ALTER TABLE jobs ADD COLUMN hinted boolean NOT NULL DEFAULT false;
