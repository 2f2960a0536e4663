-- The adapter of a judge that is a language model, and the base model it was trained on; empty for
-- judges by rule.
ALTER TABLE safety_suite ADD COLUMN judge_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE safety_suite ADD COLUMN judge_size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE safety_suite ADD COLUMN judge_base_model TEXT NOT NULL DEFAULT '';

-- The version that a new one is added to; '' and 0: none.
ALTER TABLE security_vector ADD COLUMN added_vector TEXT NOT NULL DEFAULT '';
ALTER TABLE security_vector ADD COLUMN added_version INTEGER NOT NULL DEFAULT 0;
