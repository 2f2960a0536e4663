-- Audits: a third kind of job, which scores a delivered adapter again. SQLite cannot change a CHECK,
-- so the table is made anew; the rows that refer to it are checked again when the transaction ends.
PRAGMA defer_foreign_keys = ON;
CREATE TEMP TABLE job_before AS SELECT * FROM job;
DROP TABLE job;
CREATE TABLE job (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL REFERENCES tenant (id),
  -- 1 fine-tuning, 2 training of a security vector, 3 audit of an adapter.
  kind INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),
  display_name TEXT NOT NULL,
  -- The data sets may be deleted once the job has ended, so these are no foreign keys. An audit has
  -- none.
  dataset_id TEXT NOT NULL,
  dataset_sha256 TEXT NOT NULL,
  dataset_size INTEGER NOT NULL,
  general_id TEXT NOT NULL DEFAULT '',
  general_sha256 TEXT NOT NULL DEFAULT '',
  general_size INTEGER NOT NULL DEFAULT 0,
  base_model TEXT NOT NULL REFERENCES base_model (id),
  base_sha256 TEXT NOT NULL CHECK (length(base_sha256) = 64),
  spec BLOB NOT NULL,
  estimate BLOB NOT NULL,
  -- Of an audit the version that its adapter was trained with.
  vector TEXT NOT NULL,
  version INTEGER NOT NULL,
  safety_suite TEXT NOT NULL REFERENCES safety_suite (id),

  state INTEGER NOT NULL DEFAULT 1 CHECK (state IN (1, 2, 3, 4, 5, 6)),
  phase INTEGER NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  lease_owner TEXT,
  lease_expires INTEGER,
  lease_boot TEXT,
  progress BLOB NOT NULL DEFAULT x'',
  checkpoint_sha256 TEXT NOT NULL DEFAULT '',
  checkpoint_size INTEGER NOT NULL DEFAULT 0,
  checkpoint_step INTEGER NOT NULL DEFAULT 0,

  safety_before BLOB NOT NULL DEFAULT x'',
  safety_after BLOB NOT NULL DEFAULT x'',
  proof BLOB NOT NULL DEFAULT x'',
  adapter_id TEXT NOT NULL DEFAULT '',
  error_code TEXT NOT NULL DEFAULT '',
  error_message TEXT NOT NULL DEFAULT '',
  create_time INTEGER NOT NULL,
  start_time INTEGER,
  end_time INTEGER,
  revision INTEGER NOT NULL DEFAULT 1,
  last_sequence INTEGER NOT NULL DEFAULT 0,

  -- Which attempt stored the checkpoint: steps compare within an attempt alone.
  checkpoint_attempt INTEGER NOT NULL DEFAULT 0,
  -- The most steps that any checkpoint of the job held.
  furthest_step INTEGER NOT NULL DEFAULT 0,
  -- Attempts that ended since furthest_step last rose.
  failures INTEGER NOT NULL DEFAULT 0,
  -- Version of the safety policy by which the job's rows are scanned, fixed by its first lease; 0 is
  -- the server's default. NULL: no lease has fixed it.
  row_scan_policy INTEGER CHECK (row_scan_policy >= 0),
  -- What the scan found, a serialized message; written once.
  row_scan BLOB NOT NULL DEFAULT x'',
  -- The sealed bytes that the running attempt opens, as its lease named them; '' and 0: none.
  vector_sealed_sha256 TEXT NOT NULL DEFAULT '',
  vector_sealed_size INTEGER NOT NULL DEFAULT 0,
  -- How the checkpoints scored among which a job's result was chosen; serialized.
  checkpoint_scores BLOB NOT NULL DEFAULT x'',
  -- The adapter that an audit scores.
  audited_adapter TEXT REFERENCES adapter (id),

  FOREIGN KEY (vector, version) REFERENCES security_vector (vector, version),
  CHECK (kind = 3 OR length(dataset_sha256) = 64),
  CHECK ((kind = 3) = (audited_adapter IS NOT NULL)),
  -- A lease iff RUNNING or CANCELLING.
  CHECK ((state IN (2, 3)) = (lease_owner IS NOT NULL)),
  CHECK ((state IN (2, 3)) = (lease_expires IS NOT NULL)),
  CHECK ((state IN (2, 3)) = (lease_boot IS NOT NULL)),
  CHECK (state NOT IN (2, 3) OR attempt >= 1),
  -- An end iff final, a reason iff FAILED, a result iff SUCCEEDED.
  CHECK ((state IN (4, 5, 6)) = (end_time IS NOT NULL)),
  CHECK ((state = 5) = (error_code <> '')),
  CHECK ((state = 4 AND kind = 1) = (adapter_id <> ''))
) STRICT;
INSERT INTO job (seq, id, tenant, kind, display_name, dataset_id, dataset_sha256, dataset_size,
  general_id, general_sha256, general_size, base_model, base_sha256, spec, estimate, vector, version,
  safety_suite, state, phase, attempt, lease_owner, lease_expires, lease_boot, progress,
  checkpoint_sha256, checkpoint_size, checkpoint_step, safety_before, safety_after, proof, adapter_id,
  error_code, error_message, create_time, start_time, end_time, revision, last_sequence,
  checkpoint_attempt, furthest_step, failures, row_scan_policy, row_scan, vector_sealed_sha256,
  vector_sealed_size, checkpoint_scores)
SELECT seq, id, tenant, kind, display_name, dataset_id, dataset_sha256, dataset_size,
  general_id, general_sha256, general_size, base_model, base_sha256, spec, estimate, vector, version,
  safety_suite, state, phase, attempt, lease_owner, lease_expires, lease_boot, progress,
  checkpoint_sha256, checkpoint_size, checkpoint_step, safety_before, safety_after, proof, adapter_id,
  error_code, error_message, create_time, start_time, end_time, revision, last_sequence,
  checkpoint_attempt, furthest_step, failures, row_scan_policy, row_scan, vector_sealed_sha256,
  vector_sealed_size, checkpoint_scores FROM job_before;
DROP TABLE job_before;
CREATE INDEX job_of_tenant ON job (tenant, seq);
CREATE INDEX job_active_of_tenant ON job (tenant) WHERE state IN (1, 2, 3);
CREATE INDEX job_queue ON job (base_model, seq) WHERE state = 1 AND kind <> 3;
CREATE INDEX job_queue_of_audits ON job (base_model, seq) WHERE state = 1 AND kind = 3;
CREATE INDEX job_leased ON job (lease_expires) WHERE state IN (2, 3);
CREATE INDEX job_of_adapter ON job (audited_adapter, seq) WHERE kind = 3;
CREATE INDEX job_audits ON job (seq) WHERE kind = 3;
CREATE UNIQUE INDEX job_one_open_audit ON job (audited_adapter) WHERE kind = 3 AND state IN (1, 2, 3);
CREATE TRIGGER row_scan_stays_as_written BEFORE UPDATE OF row_scan ON job
WHEN old.row_scan <> x'' AND new.row_scan <> old.row_scan
BEGIN SELECT RAISE(ABORT, 'what a scan found is never changed'); END;

-- Ended audits: 3 PASSED, 4 DRIFTED, 5 FAILED; the last has neither digests nor reports.
-- `report_base`, `report` and `verdict` are serialized messages, `result_sha256` is the digest of
-- what the worker handed in.
CREATE TABLE adapter_audit (
  job_id TEXT PRIMARY KEY REFERENCES job (id),
  adapter_id TEXT NOT NULL REFERENCES adapter (id),
  result INTEGER NOT NULL CHECK (result IN (3, 4, 5)),
  attempt INTEGER NOT NULL,
  suite_sha256 TEXT NOT NULL,
  judge_sha256 TEXT NOT NULL,
  sampling_sha256 TEXT NOT NULL,
  report_base BLOB NOT NULL,
  report BLOB NOT NULL,
  result_sha256 TEXT NOT NULL,
  verdict BLOB NOT NULL,
  end_time INTEGER NOT NULL,
  CHECK ((result = 5) = (report = x''))
) STRICT, WITHOUT ROWID;
CREATE TRIGGER adapter_audit_keeps_its_rows BEFORE DELETE ON adapter_audit
BEGIN SELECT RAISE(ABORT, 'an audit is never deleted'); END;
CREATE TRIGGER adapter_audit_stays_as_written BEFORE UPDATE ON adapter_audit
BEGIN SELECT RAISE(ABORT, 'an audit is never changed'); END;

-- When, and by which suite, the adapter was last scored or an audit of it failed: at delivery first.
ALTER TABLE adapter ADD COLUMN audit_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE adapter ADD COLUMN audit_suite TEXT NOT NULL DEFAULT '';
UPDATE adapter SET audit_time = adapter.create_time, audit_suite = job.safety_suite
FROM job WHERE job.id = adapter.job_id;
-- The last audit with a score, where that found drift.
ALTER TABLE adapter ADD COLUMN drifted_audit TEXT NOT NULL DEFAULT '';
CREATE INDEX adapter_by_audit ON adapter (base_model, audit_suite, audit_time) WHERE gate_state <> 2;
CREATE INDEX adapter_drifted ON adapter (drifted_audit) WHERE drifted_audit <> '';
