-- Whether a result may be taken home: 1 AVAILABLE, 2 QUARANTINED, 3 RELEASED. Adapters from before
-- the gate stay what they were: available, judged by no policy.
ALTER TABLE adapter ADD COLUMN gate_state INTEGER NOT NULL DEFAULT 1 CHECK (gate_state IN (1, 2, 3));
-- How the gate judged it: a serialized message.
ALTER TABLE adapter ADD COLUMN gate_verdict BLOB NOT NULL DEFAULT x'';

CREATE TABLE safety_policy (
  version INTEGER PRIMARY KEY CHECK (version >= 1),
  terms BLOB NOT NULL,
  created_by TEXT NOT NULL,
  create_time INTEGER NOT NULL
) STRICT;
CREATE TRIGGER safety_policy_keeps_its_rows BEFORE DELETE ON safety_policy
BEGIN SELECT RAISE(ABORT, 'a safety policy is never deleted'); END;
CREATE TRIGGER safety_policy_stays_as_written BEFORE UPDATE ON safety_policy
BEGIN SELECT RAISE(ABORT, 'a safety policy is never changed'); END;

CREATE TABLE audit_event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  time INTEGER NOT NULL,
  key_id TEXT NOT NULL CHECK (key_id <> ''),
  action TEXT NOT NULL CHECK (action <> ''),
  resource TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_event_keeps_its_rows BEFORE DELETE ON audit_event
BEGIN SELECT RAISE(ABORT, 'an audit event is never deleted'); END;
CREATE TRIGGER audit_event_stays_as_written BEFORE UPDATE ON audit_event
BEGIN SELECT RAISE(ABORT, 'an audit event is never changed'); END;
