-- Outputs that customers report and the provider triages: 1 OPEN, 2 CONFIRMED, 3 DISMISSED.
CREATE TABLE output_report (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL REFERENCES tenant (id),
  adapter_id TEXT NOT NULL REFERENCES adapter (id),
  category TEXT NOT NULL CHECK (category <> ''),
  prompt TEXT NOT NULL,
  output TEXT NOT NULL CHECK (output <> ''),
  comment TEXT NOT NULL,
  state INTEGER NOT NULL DEFAULT 1 CHECK (state IN (1, 2, 3)),
  confirmed_category TEXT NOT NULL DEFAULT '',
  note TEXT NOT NULL DEFAULT '',
  -- Orders the resolved ones: an export goes on behind the last one that it gave out.
  resolved_seq INTEGER UNIQUE,
  create_time INTEGER NOT NULL,
  resolve_time INTEGER,
  CHECK ((state = 1) = (resolve_time IS NULL)),
  CHECK ((state = 1) = (resolved_seq IS NULL)),
  CHECK ((state = 1) = (note = '')),
  CHECK ((state = 2) = (confirmed_category <> ''))
) STRICT;
CREATE INDEX output_report_of_tenant ON output_report (tenant, seq);
CREATE INDEX output_report_of_tenant_in_state ON output_report (tenant, state);
CREATE INDEX output_report_resolved ON output_report (state, resolved_seq);
CREATE INDEX output_report_in_state ON output_report (state, seq);
