-- Counting jobs by state every few seconds read every row of every job that ever was.
CREATE INDEX job_in_state ON job (state, kind);
-- A tenant's jobs in a state; without it the index above would lead through all tenants' jobs.
CREATE INDEX job_of_tenant_in_state ON job (tenant, state, kind, seq);
