-- Which attempt stored the checkpoint: steps compare within an attempt alone.
ALTER TABLE job ADD COLUMN checkpoint_attempt INTEGER NOT NULL DEFAULT 0;
-- The most steps that any checkpoint of the job held.
ALTER TABLE job ADD COLUMN furthest_step INTEGER NOT NULL DEFAULT 0;
-- Attempts that ended since furthest_step last rose.
ALTER TABLE job ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
