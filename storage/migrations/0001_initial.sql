-- Times are microseconds since the Unix epoch; lease_expires is Clock::Monotonic in microseconds.
-- `seq` orders lists and the queue. `revision` is the etag. BLOB columns hold serialized messages.

CREATE TABLE setting (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant (
  id TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 63),
  display_name TEXT NOT NULL,
  max_active_jobs INTEGER NOT NULL CHECK (max_active_jobs >= 0),
  max_dataset_bytes INTEGER NOT NULL CHECK (max_dataset_bytes >= 0),
  create_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL REFERENCES tenant (id),
  role INTEGER NOT NULL CHECK (role IN (1, 2, 3)),
  secret_sha256 TEXT NOT NULL UNIQUE CHECK (length(secret_sha256) = 64),
  display_name TEXT NOT NULL,
  create_time INTEGER NOT NULL,
  revoke_time INTEGER
) STRICT;
CREATE INDEX api_key_of_tenant ON api_key (tenant, seq);

CREATE TABLE request (
  tenant TEXT NOT NULL,
  method TEXT NOT NULL,
  request_id TEXT NOT NULL,
  body_sha256 TEXT NOT NULL,
  response BLOB NOT NULL,
  create_time INTEGER NOT NULL,
  PRIMARY KEY (tenant, method, request_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_by_age ON request (create_time);

CREATE TABLE dataset (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL REFERENCES tenant (id),
  display_name TEXT NOT NULL,
  state INTEGER NOT NULL CHECK (state IN (1, 2, 3)),
  received_bytes INTEGER NOT NULL CHECK (received_bytes >= 0),
  sha256 TEXT NOT NULL,
  row_count INTEGER NOT NULL CHECK (row_count >= 0),
  report BLOB NOT NULL,
  create_time INTEGER NOT NULL,
  update_time INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  -- A blob iff READY; a REJECTED data set keeps no bytes.
  CHECK ((state = 2) = (length(sha256) = 64)),
  CHECK (state <> 3 OR received_bytes = 0)
) STRICT;
CREATE INDEX dataset_of_tenant ON dataset (tenant, seq);

CREATE TABLE base_model (
  id TEXT PRIMARY KEY,
  sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
  architecture TEXT NOT NULL,
  parameter_count INTEGER NOT NULL,
  context_length INTEGER NOT NULL,
  offered INTEGER NOT NULL CHECK (offered IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE safety_suite (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  prompts_sha256 TEXT NOT NULL CHECK (length(prompts_sha256) = 64),
  prompts_size INTEGER NOT NULL,
  rules_sha256 TEXT NOT NULL CHECK (length(rules_sha256) = 64),
  rules_size INTEGER NOT NULL,
  general_sha256 TEXT NOT NULL,
  general_size INTEGER NOT NULL,
  facts BLOB NOT NULL,
  create_time INTEGER NOT NULL
) STRICT;

CREATE TABLE security_vector (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  vector TEXT NOT NULL,
  version INTEGER NOT NULL CHECK (version >= 1),
  base_model TEXT NOT NULL REFERENCES base_model (id),
  base_sha256 TEXT NOT NULL CHECK (length(base_sha256) = 64),
  state INTEGER NOT NULL CHECK (state IN (1, 2, 3, 4, 5)),
  recipe BLOB NOT NULL,
  safety_suite TEXT NOT NULL REFERENCES safety_suite (id),
  harmful_rows_sha256 TEXT NOT NULL CHECK (length(harmful_rows_sha256) = 64),
  general_rows_sha256 TEXT NOT NULL CHECK (length(general_rows_sha256) = 64),
  plain_sha256 TEXT NOT NULL,
  sealed_sha256 TEXT NOT NULL,
  sealed_size INTEGER NOT NULL,
  card BLOB NOT NULL,
  categories TEXT NOT NULL,
  job_id TEXT NOT NULL UNIQUE,
  error_message TEXT NOT NULL,
  activated_by TEXT NOT NULL,
  activate_time INTEGER,
  create_time INTEGER NOT NULL,
  UNIQUE (vector, version),
  -- Weights iff training succeeded.
  CHECK ((state IN (2, 3, 4)) = (length(sealed_sha256) = 64)),
  CHECK ((state IN (2, 3, 4)) = (length(plain_sha256) = 64)),
  CHECK ((state IN (3, 4)) = (activate_time IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX security_vector_active ON security_vector (base_model) WHERE state = 3;

CREATE TABLE job (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL REFERENCES tenant (id),
  kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
  display_name TEXT NOT NULL,
  -- The data sets may be deleted once the job has ended, so these are no foreign keys.
  dataset_id TEXT NOT NULL,
  dataset_sha256 TEXT NOT NULL CHECK (length(dataset_sha256) = 64),
  dataset_size INTEGER NOT NULL,
  general_id TEXT NOT NULL DEFAULT '',
  general_sha256 TEXT NOT NULL DEFAULT '',
  general_size INTEGER NOT NULL DEFAULT 0,
  base_model TEXT NOT NULL REFERENCES base_model (id),
  base_sha256 TEXT NOT NULL CHECK (length(base_sha256) = 64),
  spec BLOB NOT NULL,
  estimate BLOB NOT NULL,
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

  FOREIGN KEY (vector, version) REFERENCES security_vector (vector, version),
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
CREATE INDEX job_of_tenant ON job (tenant, seq);
CREATE INDEX job_active_of_tenant ON job (tenant) WHERE state IN (1, 2, 3);
CREATE INDEX job_queue ON job (base_model, seq) WHERE state = 1;
CREATE INDEX job_leased ON job (lease_expires) WHERE state IN (2, 3);

CREATE TABLE job_event (
  job_id TEXT NOT NULL REFERENCES job (id),
  sequence INTEGER NOT NULL CHECK (sequence >= 1),
  time INTEGER NOT NULL,
  state INTEGER NOT NULL CHECK (state IN (1, 2, 3, 4, 5, 6)),
  phase INTEGER NOT NULL,
  progress BLOB NOT NULL,
  message TEXT NOT NULL,
  PRIMARY KEY (job_id, sequence)
) STRICT, WITHOUT ROWID;

-- Results that a running attempt has uploaded; gone when the attempt ends.
CREATE TABLE artifact (
  job_id TEXT NOT NULL REFERENCES job (id),
  attempt INTEGER NOT NULL,
  kind INTEGER NOT NULL CHECK (kind IN (2, 3)),
  sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
  size INTEGER NOT NULL,
  PRIMARY KEY (job_id, attempt, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE adapter (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL REFERENCES tenant (id),
  job_id TEXT NOT NULL UNIQUE REFERENCES job (id),
  base_model TEXT NOT NULL,
  sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
  size INTEGER NOT NULL,
  create_time INTEGER NOT NULL
) STRICT;
CREATE INDEX adapter_of_tenant ON adapter (tenant, seq);
