-- Sessions that a person can look at and end, what they are bound to, first passwords by link, and slowed sign-ins.
ALTER TABLE identity.sessions
  ADD COLUMN last_used_at   timestamptz NOT NULL DEFAULT now(),  -- signed in or renewed
  ADD COLUMN source_address text,        -- where the sign-in came from
  ADD COLUMN user_agent     text,        -- of the sign-in
  ADD COLUMN jkt            text;        -- RFC 7638 thumbprint of the DPoP key that its tokens are bound to
CREATE INDEX sessions_by_age ON identity.sessions (user_id, created_at DESC, id DESC);
DROP INDEX identity.sessions_by_user;
CREATE INDEX sessions_by_end ON identity.sessions (expires_at);

-- Where an account's owner signed in before: hashes of device cookie, DPoP key, device id and address.
-- A session that is ended as not trusted any more takes its places with it.
CREATE TABLE identity.known_places (
  user_id    text NOT NULL,
  place      bytea NOT NULL,             -- SHA-256 of the kind and its value
  session_id uuid NOT NULL,              -- the last one opened from there
  seen_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, place)
);
CREATE INDEX known_places_by_session ON identity.known_places (session_id);
CREATE INDEX known_places_by_age ON identity.known_places (seen_at);

-- One link for each person at most: a new one takes the place of the one before.
CREATE TABLE identity.invitations (
  user_id    text PRIMARY KEY,
  token_hash bytea NOT NULL UNIQUE,      -- SHA-256 of the opaque token
  expires_at timestamptz NOT NULL
);

-- How far ahead each slowed key has used up its turns (GCRA, ITU-T I.371). Losing it in a crash costs nothing but the pace.
CREATE UNLOGGED TABLE identity.turns (
  key bytea PRIMARY KEY,                 -- SHA-256 of what is slowed: an account, an address, an account at a place
  due timestamptz NOT NULL
);
CREATE INDEX turns_by_due ON identity.turns (due);

-- Take a turn on all keys, or on none. Each gives `free` turns at once and one every `step` seconds.
-- Answers the seconds that each key has to wait for it; one of more than `longest`: none was taken.
CREATE FUNCTION identity.take_turn(keys bytea[], free float8[], steps float8[], longest float8) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
  moment timestamptz;
  waits float8[];
BEGIN
  -- In the order of keys, so that two callers cannot wait for each other; what is there is locked by the empty update.
  INSERT INTO identity.turns AS t (key, due) SELECT k, clock_timestamp() FROM unnest(keys) AS k ORDER BY k
    ON CONFLICT (key) DO UPDATE SET due = t.due;
  moment := clock_timestamp();
  SELECT array_agg(greatest(0, extract(epoch FROM t.due - moment)::float8 - (a.free - 1) * a.step) ORDER BY a.n) INTO waits
    FROM unnest(keys, take_turn.free, steps) WITH ORDINALITY AS a (key, free, step, n) JOIN identity.turns t USING (key);
  IF longest >= ALL (waits) THEN
    UPDATE identity.turns t SET due = greatest(t.due, moment) + make_interval(secs => a.step)
      FROM unnest(keys, steps) AS a (key, step) WHERE t.key = a.key;
  END IF;
  RETURN waits;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.known_places, identity.invitations, identity.turns TO athena_gateway;
GRANT DELETE ON identity.sessions TO athena_gateway;
