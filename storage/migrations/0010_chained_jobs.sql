-- The adapter that a job goes on from, pinned at creation: id, tar file, and the digest of its tensors
-- as its own proof names it; '' and 0: the job starts from the base model.
ALTER TABLE job ADD COLUMN start_adapter_id TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN start_sha256 TEXT NOT NULL DEFAULT ''
  CHECK (length(start_sha256) = CASE start_adapter_id WHEN '' THEN 0 ELSE 64 END);
ALTER TABLE job ADD COLUMN start_size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN start_tensors_sha256 TEXT NOT NULL DEFAULT ''
  CHECK (length(start_tensors_sha256) = CASE start_adapter_id WHEN '' THEN 0 ELSE 64 END);
-- Jobs in the chain that this one ends.
ALTER TABLE job ADD COLUMN chain_length INTEGER NOT NULL DEFAULT 1
  CHECK (chain_length >= 1 AND (chain_length = 1) = (start_adapter_id = ''));
-- Score of base model + start adapter; serialized.
ALTER TABLE job ADD COLUMN safety_start BLOB NOT NULL DEFAULT x'';
CREATE TRIGGER job_keeps_its_start
BEFORE UPDATE OF start_adapter_id, start_sha256, start_tensors_sha256, chain_length ON job
WHEN new.start_adapter_id <> old.start_adapter_id OR new.start_sha256 <> old.start_sha256
  OR new.start_tensors_sha256 <> old.start_tensors_sha256 OR new.chain_length <> old.chain_length
BEGIN SELECT RAISE(ABORT, 'what a job starts from is never changed'); END;
