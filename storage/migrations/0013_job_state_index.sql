-- Counting jobs by state every few seconds read every row of every job that ever was.
CREATE INDEX job_in_state ON job (state, kind);
