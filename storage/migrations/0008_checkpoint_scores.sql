-- How the checkpoints scored among which a job's result was chosen; serialized.
ALTER TABLE job ADD COLUMN checkpoint_scores BLOB NOT NULL DEFAULT x'';
