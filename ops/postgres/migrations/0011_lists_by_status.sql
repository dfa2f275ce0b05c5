-- Each list is a walk of one index for each status, whatever else is asked for (docs/adr/0027). Some of these indexes also lie in the
-- way of another list, which would have to leave out nearly all that it finds there. So they have a condition that is true of every
-- row: PostgreSQL takes an index with a condition only for a statement that has the condition, too.
ALTER TABLE requests.participants
  ADD COLUMN status      text NOT NULL DEFAULT '',  -- of the request, as it is now
  ADD COLUMN category_id text NOT NULL DEFAULT '';  -- of the request
DROP INDEX requests.participants_by_age;
UPDATE requests.participants p SET status = r.status, category_id = r.category_id FROM requests.requests r WHERE r.id = p.request_id;
CREATE INDEX participants_by_status ON requests.participants (approver_id, status, created_at DESC, request_id DESC)
  WHERE partition <> -1;
CREATE INDEX participants_by_category ON requests.participants (approver_id, category_id, status, created_at DESC, request_id DESC);

DROP INDEX requests.requests_by_age, requests.requests_by_status, requests.requests_by_category, requests.requests_by_requester;
CREATE INDEX requests_by_status ON requests.requests (status, created_at DESC, id DESC) WHERE version <> -1;
CREATE INDEX requests_by_category ON requests.requests (category_id, status, created_at DESC, id DESC) WHERE version <> -2;
CREATE INDEX requests_by_requester ON requests.requests (requester_id, status, created_at DESC, id DESC) WHERE version <> -3;
CREATE INDEX requests_of_requester_by_category ON requests.requests (requester_id, category_id, status, created_at DESC, id DESC);

-- A decision taken back is none of the list.
DROP INDEX requests.history_decisions;
CREATE INDEX history_decisions ON requests.history (actor_id, at DESC, request_id DESC, version DESC)
  WHERE action IN ('approve', 'reject');

-- What somebody did is a walk for each of their actions. Of two records of one time the one further on in the log comes first: that
-- takes a fraction of the room that the chain's name takes.
DROP INDEX audit.records_by_actor, audit.records_by_action, audit.records_by_time, audit.records_by_request;
CREATE INDEX records_by_actor ON audit.records (actor_id, action, at DESC, partition DESC, log_offset DESC);
CREATE INDEX records_by_action ON audit.records (action, at DESC, partition DESC, log_offset DESC) WHERE seq <> -1;
CREATE INDEX records_by_time ON audit.records (at DESC, partition DESC, log_offset DESC) WHERE seq <> -2;
CREATE INDEX records_by_request ON audit.records (request_id, at DESC, partition DESC, log_offset DESC);
