-- The vectors that a version is the sum of, each with its categories, a serialized message. Empty:
-- not trained, or from before parts were recorded.
ALTER TABLE security_vector ADD COLUMN parts BLOB NOT NULL DEFAULT x'';
CREATE TRIGGER vector_keeps_its_parts BEFORE UPDATE OF parts ON security_vector
WHEN old.parts <> x'' AND new.parts <> old.parts
BEGIN SELECT RAISE(ABORT, 'what a version is the sum of is never changed'); END;
