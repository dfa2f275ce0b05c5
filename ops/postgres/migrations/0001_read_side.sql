-- The read side. Written by the projector from athena.audit alone; schemas apart, each role with only its grants.
CREATE SCHEMA requests;
CREATE SCHEMA catalog;
CREATE SCHEMA identity;
CREATE SCHEMA audit;
CREATE SCHEMA notify;

-- What of athena.audit is in these tables: rows, tombstones and this commit in one transaction.
CREATE TABLE audit.applied_offsets (
  partition   int PRIMARY KEY,
  next_offset bigint NOT NULL
);

CREATE TABLE requests.requests (
  id            uuid PRIMARY KEY,
  version       int NOT NULL,
  status        text NOT NULL,
  requester_id  text NOT NULL,
  category_id   text NOT NULL,
  department_id text NOT NULL,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL,
  document      text NOT NULL            -- the request as answered, JSON, byte for byte as the audit stream has it
);
CREATE INDEX requests_by_age ON requests.requests (created_at DESC, id DESC);
CREATE INDEX requests_by_requester ON requests.requests (requester_id, created_at DESC, id DESC);
CREATE INDEX requests_by_status ON requests.requests (status, created_at DESC, id DESC);
CREATE INDEX requests_by_category ON requests.requests (category_id, created_at DESC, id DESC);
CREATE INDEX requests_by_update ON requests.requests (updated_at);

-- Everybody but the requester who is or was on a request. `waiting`: their vote is open now.
CREATE TABLE requests.participants (
  approver_id text NOT NULL,
  request_id  uuid NOT NULL,
  created_at  timestamptz NOT NULL,      -- of the request: lists are ordered by it
  waiting     boolean NOT NULL,
  PRIMARY KEY (request_id, approver_id)
);
CREATE INDEX participants_by_age ON requests.participants (approver_id, created_at DESC, request_id DESC);
CREATE INDEX participants_waiting ON requests.participants (approver_id, created_at DESC, request_id DESC) WHERE waiting;

-- One row per event of a request: the status history; approver's own decisions are found in it.
CREATE TABLE requests.history (
  request_id uuid NOT NULL,
  version    int NOT NULL,
  status     text NOT NULL,
  at         timestamptz NOT NULL,
  actor_id   text NOT NULL,
  action     text NOT NULL,
  level      text,
  comment    text,
  PRIMARY KEY (request_id, version)
);
CREATE INDEX history_decisions ON requests.history (actor_id, at DESC, request_id DESC, version DESC)
  WHERE action IN ('approve', 'reject', 'rollback');

-- One row per vote that stands now.
CREATE TABLE requests.votes (
  request_id  uuid NOT NULL,
  level       text NOT NULL,
  approver_id text NOT NULL,
  decision    text NOT NULL,
  at          timestamptz NOT NULL,
  version     int NOT NULL,
  PRIMARY KEY (request_id, level, approver_id)
);

-- What became of each command, for GET /commands/{id}.
CREATE TABLE requests.commands (
  id         uuid PRIMARY KEY,
  actor_id   text NOT NULL,
  request_id uuid,
  outcome    text NOT NULL,
  code       text,
  version    int
);

CREATE TABLE catalog.entities (
  kind    text NOT NULL,
  id      text NOT NULL,
  version int NOT NULL,
  document text NOT NULL,                -- the entity as athena.reference has it, JSON
  PRIMARY KEY (kind, id)
);

-- One row per audit record; a column per chained field, so that a change of any column breaks the chain.
CREATE TABLE audit.records (
  entity         text NOT NULL,
  seq            bigint NOT NULL,
  schema_version int NOT NULL,
  request_id     text,
  version        int,
  command_id     text NOT NULL,
  actor_id       text NOT NULL,
  actor_roles    text[] NOT NULL,
  action         text NOT NULL,
  level          text,
  at             timestamptz(3) NOT NULL,
  outcome        text NOT NULL,
  code           text,
  status_before  text,
  status_after   text,
  correlation_id text NOT NULL,
  content        text,
  commitments    text NOT NULL,          -- JSON
  prev_hash      text NOT NULL,
  hash           text NOT NULL,
  event          text,                   -- JSON without personal fields, what `content` is the hash of
  partition      int NOT NULL,
  log_offset     bigint NOT NULL,
  PRIMARY KEY (entity, seq)
);
CREATE INDEX records_by_time ON audit.records (at DESC, entity DESC, seq DESC);
CREATE INDEX records_by_actor ON audit.records (actor_id, at DESC, entity DESC, seq DESC);
CREATE INDEX records_by_request ON audit.records (request_id, at DESC, entity DESC, seq DESC);
CREATE INDEX records_by_action ON audit.records (action, at DESC, entity DESC, seq DESC);

-- The personal parts that the commitments hide: apart, so that a person can be forgotten while every chain still verifies.
CREATE TABLE audit.personal (
  entity  text NOT NULL,
  seq     bigint NOT NULL,
  salt    text NOT NULL,
  content text NOT NULL,                 -- JSON object: field name -> text
  PRIMARY KEY (entity, seq)
);

CREATE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'audit.records is append-only: % refused', TG_OP
    USING ERRCODE = 'insufficient_privilege', HINT = 'Audit records are facts. Record a new event instead.';
END $$;
CREATE TRIGGER records_append_only BEFORE UPDATE OR DELETE ON audit.records
  FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER records_no_truncate BEFORE TRUNCATE ON audit.records
  FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
ALTER TABLE audit.records ENABLE ALWAYS TRIGGER records_append_only;
ALTER TABLE audit.records ENABLE ALWAYS TRIGGER records_no_truncate;

-- Credentials follow in PostgreSQL by user id; the accounts themselves are reference data.
CREATE TABLE identity.credentials (
  user_id       text PRIMARY KEY,
  password_hash text NOT NULL,
  changed_at    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE identity.sessions (
  id          uuid PRIMARY KEY,
  user_id     text NOT NULL,
  device_id   text,
  created_at  timestamptz NOT NULL DEFAULT now(),
  expires_at  timestamptz NOT NULL,
  revoked_at  timestamptz
);
CREATE INDEX sessions_by_user ON identity.sessions (user_id);
CREATE INDEX sessions_revoked ON identity.sessions (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE TABLE identity.refresh_tokens (
  token_hash  bytea PRIMARY KEY,         -- SHA-256 of the opaque token
  session_id  uuid NOT NULL REFERENCES identity.sessions (id) ON DELETE CASCADE,
  created_at  timestamptz NOT NULL DEFAULT now(),
  used_at     timestamptz,
  used_by     text                       -- which device: a retry of its own within 10 s gets the same answer
);
CREATE INDEX refresh_tokens_by_session ON identity.refresh_tokens (session_id);

-- Commands that a gateway answered with 202: whose they are, until the audit stream tells. Not a part of the read side.
CREATE SCHEMA gateway;
CREATE TABLE gateway.promised_commands (
  id         uuid PRIMARY KEY,
  actor_id   text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX promised_commands_by_age ON gateway.promised_commands (created_at);

GRANT USAGE ON SCHEMA gateway TO athena_gateway;
GRANT SELECT, INSERT, DELETE ON gateway.promised_commands TO athena_gateway;
GRANT USAGE ON SCHEMA requests, catalog, audit TO athena_gateway, athena_projector;
GRANT USAGE ON SCHEMA identity TO athena_gateway;
GRANT SELECT ON ALL TABLES IN SCHEMA requests, catalog, audit TO athena_gateway, athena_projector;
GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA requests, catalog TO athena_projector;
GRANT INSERT, UPDATE ON audit.applied_offsets TO athena_projector;
GRANT INSERT ON audit.records, audit.personal TO athena_projector;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA identity TO athena_gateway;
