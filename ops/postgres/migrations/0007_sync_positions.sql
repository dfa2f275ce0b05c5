-- Where in athena.audit the newest change of each row lies: clients follow it in commit order, and projectors write it.
ALTER TABLE requests.requests
  ADD COLUMN partition  int NOT NULL DEFAULT 0,     -- of the newest event
  ADD COLUMN log_offset bigint NOT NULL DEFAULT 0;
UPDATE requests.requests r SET partition = a.partition, log_offset = a.log_offset
  FROM audit.records a WHERE a.entity = 'request:' || r.id AND a.version = r.version AND a.outcome = 'accepted';
CREATE INDEX requests_by_position ON requests.requests (partition, log_offset);
CREATE INDEX requests_of_requester_by_position ON requests.requests (requester_id, partition, log_offset);

ALTER TABLE requests.participants
  ADD COLUMN decided    boolean NOT NULL DEFAULT false,  -- they have voted, whatever has become of the vote
  ADD COLUMN left_by    text,                            -- the action by which they no longer had to act; null: they have to, or never had
  ADD COLUMN partition  int NOT NULL DEFAULT 0,          -- of the newest event that concerns them: the request's while they wait or have
  ADD COLUMN log_offset bigint NOT NULL DEFAULT 0;       -- voted, else the one by which they no longer had to act, or were named
-- Nobody has followed anything before this, so nobody has to be told by what they no longer had to act.
UPDATE requests.participants p SET partition = r.partition, log_offset = r.log_offset, decided = EXISTS (
    SELECT FROM requests.history h
    WHERE h.request_id = p.request_id AND h.actor_id = p.approver_id AND h.action IN ('approve', 'reject'))
  FROM requests.requests r WHERE r.id = p.request_id;
CREATE INDEX participants_by_position ON requests.participants (approver_id, partition, log_offset)
  WHERE waiting OR decided OR left_by IS NOT NULL;

-- How far the read side was at some moments: `lastSync` names a moment, and reading goes on at the mark before it. Each says what
-- had been committed when it was made. Not a part of the read side: a rebuild leaves it.
CREATE TABLE audit.sync_marks (
  partition   int NOT NULL,
  at          timestamptz NOT NULL,
  next_offset bigint NOT NULL,
  PRIMARY KEY (partition, at)
);
CREATE INDEX sync_marks_by_age ON audit.sync_marks (at);
GRANT SELECT ON audit.sync_marks TO athena_gateway, athena_projector;
GRANT INSERT, DELETE ON audit.sync_marks TO athena_projector;
