-- How many sessions an account has, and how often one is renewed, is bounded. Ended ones do not count, nor slow the counting.
ALTER TABLE identity.sessions ADD COLUMN renewals int NOT NULL DEFAULT 0;
CREATE INDEX sessions_living ON identity.sessions (user_id, created_at DESC, id DESC) WHERE revoked_at IS NULL;
DROP INDEX identity.sessions_by_age;
