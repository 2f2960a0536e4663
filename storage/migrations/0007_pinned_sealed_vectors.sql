-- The sealed bytes that the running attempt opens, as its lease named them: when the vector is
-- sealed anew meanwhile, the attempt goes on with these. '' and 0: it opens none. Set by each lease.
ALTER TABLE job ADD COLUMN vector_sealed_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN vector_sealed_size INTEGER NOT NULL DEFAULT 0;

-- Attempts that run already: of a fine-tuning job the version it trains with, of a training the one
-- that it adds to.
UPDATE job SET vector_sealed_sha256 = v.sealed_sha256, vector_sealed_size = v.sealed_size
FROM security_vector AS v
WHERE job.state IN (2, 3) AND job.kind = 1 AND v.vector = job.vector AND v.version = job.version;
UPDATE job SET vector_sealed_sha256 = v.sealed_sha256, vector_sealed_size = v.sealed_size
FROM security_vector AS t
JOIN security_vector AS v ON v.vector = t.added_vector AND v.version = t.added_version
WHERE job.state IN (2, 3) AND job.kind = 2 AND t.vector = job.vector AND t.version = job.version;
