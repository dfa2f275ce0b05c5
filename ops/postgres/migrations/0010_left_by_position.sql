-- Live events look for the places of the log where somebody no longer had to act, whoever it was.
CREATE INDEX participants_left ON requests.participants (partition, log_offset, request_id) WHERE left_by IS NOT NULL;
