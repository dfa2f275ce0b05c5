-- One batch of audit records: checked and written in this one statement, and so in one transaction. It writes all or nothing,
-- and answers why not. Parameters are parallel arrays, see agents/projector/batch.py.
WITH
o AS (SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS o(partition, start, next)),
-- Who holds these rows writes these partitions; a second projector waits here, and then sees that the offsets have moved.
held AS MATERIALIZED (
  SELECT a.partition, a.next_offset FROM audit.applied_offsets a WHERE a.partition = ANY($1::int[]) ORDER BY a.partition FOR UPDATE
),
b AS MATERIALIZED (
  SELECT * FROM unnest(
    $4::text[], $5::bigint[], $6::int[], $7::text[], $8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
    $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[],
    $24::text[], $25::int[], $26::bigint[], $27::text[], $28::text[], $29::text[], $30::bool[]
  ) AS b(entity, seq, schema_version, request_id, version, command_id, actor_id, actor_roles, action, level,
         at, outcome, code, status_before, status_after, correlation_id, content, commitments, prev_hash, hash,
         event, partition, log_offset, salt, personal, comment, is_event)
),
chains AS (SELECT * FROM unnest($31::text[], $32::bigint[], $33::text[]) AS c(entity, seq, hash)),
n AS MATERIALIZED (
  SELECT u.*, r.version AS current
  FROM unnest(
    $34::uuid[], $35::int[], $36::int[], $37::text[], $38::text[], $39::text[], $40::text[], $41::text[], $42::text[], $43::text[],
    $44::text[], $45::text[], $78::int[], $79::bigint[]
  ) AS u(id, need, version, status, requester_id, category_id, department_id, created_at, updated_at, document, waiting, standing,
         partition, log_offset)
  LEFT JOIN requests.requests r ON r.id = u.id
),
verdict AS MATERIALIZED (
  SELECT
    (SELECT count(*) FROM o JOIN held h ON h.partition = o.partition WHERE h.next_offset = o.start) = cardinality($1::int[]) AS held,
    -- A repeat, or a second reading, must be the same fact.
    (SELECT b.entity || ' seq ' || b.seq FROM b
       JOIN audit.records r ON r.entity = b.entity AND r.seq = b.seq
       LEFT JOIN audit.personal p ON p.entity = b.entity AND p.seq = b.seq
     WHERE r.hash <> b.hash OR r.event IS DISTINCT FROM b.event OR r.partition <> b.partition
        OR p.content IS NOT NULL AND (p.content IS DISTINCT FROM b.personal OR p.salt IS DISTINCT FROM b.salt)
     LIMIT 1) AS differs,
    (SELECT c.entity || ' seq ' || c.seq + 1 FROM chains c
     WHERE NOT EXISTS (SELECT FROM audit.records r WHERE r.entity = c.entity AND r.seq = c.seq AND r.hash = c.hash)
     LIMIT 1) AS chain_gap,
    (SELECT n.id || ' version ' || n.need + 1 || ' after ' || coalesce(n.current, 0) FROM n
     WHERE n.need > coalesce(n.current, 0) LIMIT 1) AS version_gap
),
fine AS MATERIALIZED (SELECT FROM verdict WHERE held AND differs IS NULL AND chain_gap IS NULL AND version_gap IS NULL),
write_offsets AS (
  UPDATE audit.applied_offsets a SET next_offset = o.next FROM o WHERE EXISTS (SELECT FROM fine) AND a.partition = o.partition
),
write_records AS (
  INSERT INTO audit.records (entity, seq, schema_version, request_id, version, command_id, actor_id, actor_roles, action, level,
    at, outcome, code, status_before, status_after, correlation_id, content, commitments, prev_hash, hash, event, partition, log_offset)
  SELECT entity, seq, schema_version, request_id, version, command_id, actor_id, actor_roles::text[], action, level,
    at::timestamptz, outcome, code, status_before, status_after, correlation_id, content, commitments, prev_hash, hash, event,
    partition, log_offset
  FROM b WHERE EXISTS (SELECT FROM fine)
  ON CONFLICT (entity, seq) DO NOTHING
),
write_personal AS (
  INSERT INTO audit.personal (entity, seq, salt, content)
  SELECT entity, seq, salt, personal FROM b WHERE personal IS NOT NULL AND EXISTS (SELECT FROM fine)
  ON CONFLICT (entity, seq) DO NOTHING
),
write_history AS (
  INSERT INTO requests.history (request_id, version, status, at, actor_id, action, level, comment, on_behalf_of)
  SELECT request_id::uuid, version, status_after, at::timestamptz, actor_id, action, level, comment,
    CASE WHEN action IN ('approve', 'reject') THEN event::json ->> 'on_behalf_of' END
  FROM b WHERE is_event AND EXISTS (SELECT FROM fine)
  ON CONFLICT (request_id, version) DO NOTHING
),
write_requests AS (
  INSERT INTO requests.requests AS r
    (id, version, status, requester_id, category_id, department_id, created_at, updated_at, document, partition, log_offset)
  SELECT id, version, status, requester_id, category_id, department_id, created_at::timestamptz, updated_at::timestamptz, document,
    partition, log_offset
  FROM n WHERE version > coalesce(current, 0) AND EXISTS (SELECT FROM fine)
  ON CONFLICT (id) DO UPDATE SET version = excluded.version, status = excluded.status, updated_at = excluded.updated_at,
    document = excluded.document, partition = excluded.partition, log_offset = excluded.log_offset
  WHERE excluded.version > r.version
),
-- What each event that is new to its request meant to those who were on it before.
met AS MATERIALIZED (
  SELECT p.request_id, p.approver_id, v.version, v.newest, v.partition, v.log_offset, v.action,
    CASE WHEN v.version = r.version + 1 THEN p.waiting
      ELSE coalesce(p.approver_id = ANY(string_to_array(v.before, ',')), false) END AS waited,
    p.approver_id = ANY(string_to_array(v.waiting, ',')) AS waits,
    p.approver_id = ANY(string_to_array(v.voters, ',')) AS voted
  FROM unnest($69::uuid[], $70::int[], $71::int[], $72::int[], $73::bigint[], $74::text[], $75::text[], $76::text[], $77::text[])
    AS v(request_id, newest, partition, version, log_offset, action, before, waiting, voters)
  JOIN requests.requests r ON r.id = v.request_id AND v.version > r.version
  JOIN requests.participants p ON p.request_id = v.request_id
),
moved AS (
  SELECT request_id, approver_id, min(partition) AS partition, max(log_offset) AS log_offset, bool_or(voted) AS voted,
    bool_or(waits) FILTER (WHERE version = newest) AS waits, max(log_offset) FILTER (WHERE waited AND NOT waits) AS left_at,
    (array_agg(action ORDER BY version DESC) FILTER (WHERE waited AND NOT waits))[1] AS left_by
  FROM met GROUP BY request_id, approver_id
),
write_concerns AS (
  UPDATE requests.participants p SET waiting = m.waits, decided = p.decided OR m.voted, status = n.status,
    left_by = CASE WHEN m.waits THEN NULL ELSE coalesce(m.left_by, p.left_by) END,
    partition = CASE WHEN m.waits OR m.voted OR p.decided OR m.left_at IS NOT NULL THEN m.partition ELSE p.partition END,
    log_offset = CASE WHEN m.waits OR m.voted OR p.decided THEN m.log_offset ELSE coalesce(m.left_at, p.log_offset) END
  FROM moved m JOIN n ON n.id = m.request_id
  WHERE p.request_id = m.request_id AND p.approver_id = m.approver_id AND EXISTS (SELECT FROM fine)
    AND (m.waits OR m.voted OR p.decided OR m.left_at IS NOT NULL OR p.status <> n.status)
),
write_participants AS (
  INSERT INTO requests.participants
    (request_id, approver_id, created_at, waiting, partition, log_offset, decided, left_by, status, category_id)
  SELECT u.request_id, u.approver_id, u.created_at::timestamptz, u.waiting, u.partition, u.log_offset, u.decided, u.left_by,
    n.status, n.category_id
  FROM unnest($46::uuid[], $47::text[], $48::text[], $49::bool[], $80::int[], $81::bigint[], $82::bool[], $83::text[])
    AS u(request_id, approver_id, created_at, waiting, partition, log_offset, decided, left_by)
  JOIN n ON n.id = u.request_id
  WHERE EXISTS (SELECT FROM fine)
  ON CONFLICT (request_id, approver_id) DO NOTHING
),
drop_votes AS (
  DELETE FROM requests.votes v USING n
  WHERE v.request_id = n.id AND n.standing IS NOT NULL AND n.version > n.current AND EXISTS (SELECT FROM fine)
    AND NOT (v.level || ':' || v.approver_id = ANY(string_to_array(n.standing, ',')))
),
write_votes AS (
  INSERT INTO requests.votes AS v (request_id, level, approver_id, decision, at, version)
  SELECT u.request_id, u.level, u.approver_id, u.decision, u.at::timestamptz, u.version
  FROM unnest($50::uuid[], $51::text[], $52::text[], $53::text[], $54::text[], $55::int[])
    AS u(request_id, level, approver_id, decision, at, version)
  WHERE EXISTS (SELECT FROM fine)
    AND u.version > coalesce((SELECT r.version FROM requests.requests r WHERE r.id = u.request_id), 0)
  ON CONFLICT (request_id, level, approver_id) DO UPDATE
    SET decision = excluded.decision, at = excluded.at, version = excluded.version
  WHERE excluded.version > v.version
),
write_commands AS (
  INSERT INTO requests.commands AS c (id, actor_id, request_id, outcome, code, version)
  SELECT u.* FROM unnest($56::uuid[], $57::text[], $58::uuid[], $59::text[], $60::text[], $61::int[])
    AS u(id, actor_id, request_id, outcome, code, version)
  WHERE EXISTS (SELECT FROM fine)
  -- One id on two requests: which one is kept must not hang on the order in which partitions are read.
  ON CONFLICT (id) DO UPDATE SET actor_id = excluded.actor_id, request_id = excluded.request_id, outcome = excluded.outcome,
    code = excluded.code, version = excluded.version
  WHERE (excluded.outcome, coalesce(excluded.request_id::text, '')) < (c.outcome, coalesce(c.request_id::text, ''))
),
-- A repeat of an older change must not undo what came after it.
e AS MATERIALIZED (
  SELECT u.* FROM unnest($62::text[], $63::bigint[], $64::bigint[], $65::text[], $66::text[], $67::int[], $68::text[])
    AS u(chain, seq, log_offset, kind, id, version, document)
  WHERE NOT EXISTS (
    SELECT FROM audit.records r WHERE r.entity = u.chain AND r.seq = u.seq AND r.log_offset < u.log_offset)
),
drop_entities AS (
  DELETE FROM catalog.entities x USING e
  WHERE x.kind = e.kind AND x.id = e.id AND e.document IS NULL AND EXISTS (SELECT FROM fine)
),
write_entities AS (
  INSERT INTO catalog.entities AS x (kind, id, version, document)
  SELECT kind, id, version, document FROM e WHERE document IS NOT NULL AND EXISTS (SELECT FROM fine)
  ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, document = excluded.document
)
SELECT held, differs, chain_gap, version_gap FROM verdict
