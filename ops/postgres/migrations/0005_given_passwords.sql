-- The version of the account with which an administrator gave the password: a repeat of that change gives it no second time.
ALTER TABLE identity.credentials ADD COLUMN given_at_version int NOT NULL DEFAULT 0;
