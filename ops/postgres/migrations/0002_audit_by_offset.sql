-- Verifying reads the audit rows beside the log, in the order of its offsets. Offsets ascend, so each row goes to the index's end.
CREATE INDEX records_by_offset ON audit.records (partition, log_offset);
