-- What each op id of a phone asked for, from before its command went to the log: another payload, or another request, is another op.
-- Not a part of the read side: `requests.commands` keeps for ever what became of the command.
CREATE TABLE gateway.sync_ops (
  id         uuid PRIMARY KEY,            -- the command's, derived from user, client and op id
  hash       bytea NOT NULL,              -- 128 bits of SHA-256 of what was asked for
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sync_ops_by_age ON gateway.sync_ops (created_at);
GRANT SELECT, INSERT, DELETE ON gateway.sync_ops TO athena_gateway;
