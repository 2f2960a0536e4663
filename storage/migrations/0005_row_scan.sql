-- Version of the safety policy by which the job's rows are scanned, fixed by its first lease; 0 is
-- the server's default. NULL: no lease has fixed it.
ALTER TABLE job ADD COLUMN row_scan_policy INTEGER CHECK (row_scan_policy >= 0);
-- What the scan found, a serialized message; written once.
ALTER TABLE job ADD COLUMN row_scan BLOB NOT NULL DEFAULT x'';

-- The rows that a scan took out of training, kept apart from what lists of jobs read.
CREATE TABLE row_scan_dropped (
  job_id TEXT PRIMARY KEY REFERENCES job (id),
  rows BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER row_scan_stays_as_written BEFORE UPDATE OF row_scan ON job
WHEN old.row_scan <> x'' AND new.row_scan <> old.row_scan
BEGIN SELECT RAISE(ABORT, 'what a scan found is never changed'); END;
